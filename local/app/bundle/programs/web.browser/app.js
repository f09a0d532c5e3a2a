// A small DDP client over SockJS, and the page that it feeds.
const $ = (id) => document.getElementById(id);
const tasks = new Map();
let socket;
let calls = new Map();
let nextId = 1;
let wait = 500;

function status(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

function hostColour(host) {
  const number = Number(/\d+$/.exec(host || "")?.[0] ?? 1);
  return `var(--host${((number - 1) % 4) + 1})`;
}

function send(message) {
  socket.send(JSON.stringify(message));
}

function call(method, ...params) {
  const id = String(nextId++);
  return new Promise((resolve, reject) => {
    const message = { msg: "method", id, method, params };
    calls.set(id, { resolve, reject, message });
    if (socket.readyState === 1) send(message);
  });
}

async function refresh() {
  const started = performance.now();
  const me = await call("whoami");
  $("latency").textContent = `${Math.round(performance.now() - started)} ms`;
  $("host").textContent = me.host;
  document.documentElement.style.setProperty("--host", hostColour(me.host));
  $("transport").textContent = me.transport;
  $("address").textContent = me.clientAddress;
  $("node").textContent = me.node;
  $("sessions").textContent = me.sessions;
}

const handlers = {
  connected() {
    wait = 500;
    status("connected", "connected");
    tasks.clear();
    send({ msg: "sub", id: "tasks", name: "tasks", params: [] });
    // As Meteor does: what had no answer is sent again.
    for (const { message } of calls.values()) send(message);
    void refresh();
  },
  ping: ({ id }) => send({ msg: "pong", ...(id && { id }) }),
  added: ({ id, fields }) => {
    tasks.set(id, fields);
    render();
  },
  removed: ({ id }) => {
    tasks.delete(id);
    render();
  },
  ready: () => render(),
  result({ id, result, error }) {
    const { resolve, reject } = calls.get(id) ?? {};
    calls.delete(id);
    if (error) reject?.(new Error(error.reason));
    else resolve?.(result);
  },
};

function connect() {
  socket = new SockJS("/sockjs", undefined, {
    transports: ["websocket", "xhr-streaming", "xhr-polling"],
  });
  socket.onopen = () => send({ msg: "connect", version: "1", support: ["1"] });
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    handlers[message.msg]?.(message);
  };
  socket.onclose = () => {
    status("waiting", "reconnecting");
    setTimeout(connect, wait);
    wait = Math.min(wait * 2, 8000);
  };
}

function render() {
  const sorted = [...tasks].sort(([, a], [, b]) => (a.at < b.at ? 1 : -1));
  $("tasks").replaceChildren(
    ...sorted.map(([id, { text, host }]) => {
      const item = document.createElement("li");
      item.style.setProperty("--host", hostColour(host));
      const parts = [
        ["span", "text", text],
        ["span", "host", host],
        ["button", "remove", "✕"],
      ].map(([tag, name, content]) => {
        const element = document.createElement(tag);
        element.className = name;
        element.textContent = content;
        return element;
      });
      parts[2].title = "Remove";
      parts[2].onclick = () => call("tasks.remove", id);
      item.append(...parts);
      return item;
    }),
  );
  $("empty").hidden = sorted.length > 0;
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  void call("tasks.insert", $("text").value);
  $("text").value = "";
});

// The cookie is out of a script's reach; the server tells what it got.
fetch("/whoami")
  .then((response) => response.json())
  .then(({ cookie }) => {
    $("cookie").textContent = cookie ?? "none";
  });
setInterval(() => {
  if (socket.readyState === 1) void refresh();
}, 5000);
connect();
