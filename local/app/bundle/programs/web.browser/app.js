// The page: what the DDP client knows, drawn.
const $ = (id) => document.getElementById(id);
const transportNames = {
  websocket: "WebSocket",
  "xhr-streaming": "XHR streaming",
  "xhr-polling": "XHR polling",
};
/** ?transport=xhr-polling in the address asks for one transport. */
const askedFor = new URLSearchParams(location.search).get("transport");
const transports = askedFor in transportNames ? [askedFor] : Object.keys(transportNames);
const latencies = [];
/** What was inserted here and is not in view yet: id → when. */
const inserted = new Map();
const cookie = { host: undefined, asked: 0 };
/** What of the steps to try has been seen to happen. */
const seen = { sessions: false, writers: false, gone: false };
let me;

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

/** host1, host2, … each has a colour of its own everywhere on the page. */
function colour(host) {
  const number = Number(/\d+$/.exec(host ?? "")?.[0] ?? 1);
  return `var(--host-${((number - 1) % 6) + 1})`;
}

function coloured(made, host) {
  made.style.setProperty("--host", colour(host));
  return made;
}

function ago(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

const ddp = new DdpClient({
  transports,
  events: {
    status(state, wait) {
      const texts = {
        connecting: "connecting",
        connected: "connected",
        waiting:
          wait > 1000 ? `connecting again in ${Math.ceil(wait / 1000)} s` : "connecting again",
      };
      $("status").dataset.state = state;
      $("status").textContent = texts[state];
      if (state === "connected") {
        void learnWhere();
      }
    },
    change(collection, { msg, id, fields }) {
      if (collection === "tasks" && msg === "added" && inserted.has(id)) {
        const took = Math.round(performance.now() - inserted.get(id));
        inserted.delete(id);
        $("measure").textContent =
          `Written through ${fields.host}, into MongoDB, and here again: ${took} ms.`;
      }
      draw();
    },
    latency(milliseconds) {
      latencies.push(milliseconds);
      latencies.splice(0, latencies.length - 40);
      drawLatency();
    },
  },
});
ddp.subscribe("hosts");
ddp.subscribe("tasks");

/** Asks the host at the other end of the live connection who it is. */
async function learnWhere() {
  me = await ddp.call("whoami");
  document.title = `${me.host} · meteor-scale`;
  document.documentElement.style.setProperty("--host", colour(me.host));
  $("host").textContent = me.host;
  $("process").textContent =
    `process ${me.pid} · Node ${me.node} · version ${me.version} · reactivity by ${me.reactivity}`;
  $("transport").textContent = transportNames[me.transport] ?? me.transport;
  $("transports").replaceChildren(
    "or ",
    ...Object.keys(transportNames)
      .filter((name) => name !== me.transport)
      .flatMap((name, index) => {
        const link = element("a", "", transportNames[name]);
        link.href = `?transport=${name}`;
        return index === 0 ? [link] : [", ", link];
      }),
  );
  $("address").textContent = me.clientAddress;
  $("proto").textContent = me.forwardedProto
    ? `${me.forwardedProto}, through the balancer`
    : "no balancer between";
  void followCookie();
  draw();
}

async function whoAnswers(credentials, path = "/whoami") {
  const response = await fetch(path, { credentials, cache: "no-store" });
  return (await response.json()).host;
}

/** The cookie itself is out of a script's reach, and stays at the balancer; where it leads can be seen. */
async function followCookie() {
  const host = await whoAnswers("same-origin").catch(() => undefined);
  if (host === undefined) {
    return;
  }
  if (host !== cookie.host) {
    Object.assign(cookie, { host, asked: 0 });
  }
  cookie.asked += 1;
  coloured($("cookie"), host).textContent = host;
  $("cookie-note").textContent =
    host === me?.host
      ? `JSESSIONID, ${cookie.asked} of ${cookie.asked} requests`
      : "not where the live connection is";
}

/** Twelve requests that overlap, since one alone would always find the same host the least busy. */
async function experiment(credentials, words) {
  const answers = $("answers");
  answers.replaceChildren();
  const asked = await Promise.all(
    Array.from({ length: 12 }, async () => {
      const host = await whoAnswers(credentials, "/slow?ms=400").catch(() => "nobody");
      const dot = coloured(element("span", "dot"), host);
      dot.title = host;
      answers.append(dot);
      return host;
    }),
  );
  const counts = [...new Set(asked)]
    .sort()
    .map((name) => `${name} answered ${asked.filter((one) => one === name).length}`);
  answers.append(element("span", "sum", `${words} ${counts.join(", ")}.`));
}

function drawLatency() {
  const text = (value) => (value < 10 ? value.toFixed(1) : String(Math.round(value)));
  $("latency").textContent = `${text(latencies.at(-1))} ms`;
  const most = Math.max(...latencies, 5);
  const points = latencies.map(
    (value, index) =>
      `${(index / (Math.max(latencies.length, 12) - 1)) * 160},${22 - (value / most) * 20}`,
  );
  $("history").setAttribute("viewBox", "0 0 160 24");
  $("history").innerHTML = `<polyline points="${points.join(" ")}" />`;
}

let drawing = false;
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    drawHosts();
    drawTasks();
    drawSteps();
  });
}

function hostsInView() {
  const all = [...ddp.documents("hosts").values()];
  // What a restart left behind is of no interest once the host is back.
  return all
    .filter((one) => one.up || !all.some((other) => other.host === one.host && other.up))
    .sort((a, b) =>
      a.host === b.host
        ? a.startedAt - b.startedAt
        : a.host.localeCompare(b.host, "en", { numeric: true }),
    );
}

function drawHosts() {
  const hosts = hostsInView();
  const up = hosts.filter((one) => one.up);
  const sessions = up.reduce((sum, one) => sum + one.sessions, 0);
  $("host-count").textContent =
    hosts.length === 0
      ? ""
      : `${up.length} up, ${sessions} ${sessions === 1 ? "session" : "sessions"}`;
  const most = Math.max(...up.map((one) => one.sessions), 1);
  $("hosts").replaceChildren(
    ...hosts.map((one) => {
      const mine = one.up && one.host === me?.host && one.pid === me?.pid;
      const tile = coloured(element("li", "tile"), one.host);
      tile.dataset.up = one.up;
      tile.dataset.mine = mine;
      const bar = element("span", "fill");
      bar.style.width = `${one.up ? (one.sessions / most) * 100 : 0}%`;
      tile.append(
        element("p", "name", one.host, ...(mine ? [element("span", "you", "you")] : [])),
        element(
          "p",
          "sessions",
          element("b", "", one.up ? String(one.sessions) : "–"),
          one.up ? (one.sessions === 1 ? " session" : " sessions") : " not heard of",
        ),
        element("p", "bar-of-sessions", bar),
        element(
          "p",
          "note",
          one.up
            ? `version ${one.version}, up ${ago(Date.now() - one.startedAt)}`
            : "its sessions moved on",
        ),
      );
      return tile;
    }),
  );
}

function drawTasks() {
  const list = $("tasks");
  const known = new Map([...list.children].map((item) => [item.dataset.id, item]));
  const tasks = [...ddp.documents("tasks")].sort(([, a], [, b]) => b.at - a.at);
  const items = tasks.map(([id, task]) => {
    const item = known.get(id) ?? taskItem(id, task);
    item.querySelector(".when").textContent = ago(Date.now() - task.at);
    return item;
  });
  if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) {
    list.replaceChildren(...items);
  }
  $("empty").hidden = tasks.length > 0 || !ddp.connected;
}

function taskItem(id, { text, host }) {
  const item = coloured(element("li", "task"), host);
  item.dataset.id = id;
  const remove = element("button", "remove", "×");
  remove.type = "button";
  remove.ariaLabel = `Delete “${text}”`;
  remove.onclick = () => void ddp.call("tasks.remove", id);
  const when = element("span", "when");
  const chip = element("span", "chip", host);
  chip.title = `Inserted through ${host}`;
  item.append(element("span", "text", text), chip, when, remove);
  return item;
}

function drawSteps() {
  const hosts = hostsInView();
  const gone = hosts.find((one) => !one.up);
  seen.sessions ||= hosts.reduce((sum, one) => sum + (one.up ? one.sessions : 0), 0) > 1;
  seen.writers ||= new Set([...ddp.documents("tasks").values()].map((task) => task.host)).size > 1;
  seen.gone ||= gone !== undefined;
  const code = (text) => element("code", "", text);
  const host = gone?.host ?? me?.host ?? "host1";
  const steps = [
    [
      seen.sessions,
      "Open this page in a private window too. It has no cookie yet, so the balancer picks the host with the fewest connections.",
    ],
    [seen.writers, "Add a line in each window. Whichever host it goes through, it shows in both."],
    [
      seen.gone,
      "Stop the host that serves you: ",
      code(`npm run local shell ${host}`),
      ", then ",
      code("systemctl stop meteor"),
      ". This page goes on with another one.",
    ],
    [
      seen.gone && gone === undefined,
      "Start it again with ",
      code("systemctl start meteor"),
      ". Pages stay where they are, and new ones go to it.",
    ],
  ];
  const key = JSON.stringify([steps.map(([done]) => done), host]);
  if ($("steps").dataset.key === key) return;
  $("steps").dataset.key = key;
  $("steps").replaceChildren(
    ...steps.map(([done, ...text]) => {
      const item = element("li", "", element("span", "", ...text));
      item.dataset.done = done;
      return item;
    }),
  );
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value;
  if (text.trim() === "") return;
  // The id is chosen here, so that an insert that is sent twice adds one line.
  const bytes = crypto.getRandomValues(new Uint8Array(9));
  const id = [...bytes].map((byte) => byte.toString(36).padStart(2, "0")).join("");
  inserted.set(id, performance.now());
  $("text").value = "";
  ddp.call("tasks.insert", text, id).catch((error) => {
    inserted.delete(id);
    $("measure").textContent = `${error.message}.`;
  });
});
$("with-cookie").onclick = () => void experiment("same-origin", "With it");
$("without-cookie").onclick = () => void experiment("omit", "Without it");

setInterval(() => {
  if (ddp.connected) void followCookie();
}, 5000);
setInterval(draw, 1000);
draw();
