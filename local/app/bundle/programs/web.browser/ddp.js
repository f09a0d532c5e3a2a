// A small DDP client over SockJS. Like Meteor's it connects again by itself, subscribes again, and sends
// again what had no answer.
class DdpClient {
  /**
   * @param transports names for SockJS
   * @param events functions: status(state, wait), change(collection, message), latency(milliseconds)
   */
  constructor({ transports, events }) {
    Object.assign(this, { transports, events });
    /** Collection → id → fields. */
    this.collections = new Map();
    this.subscriptions = new Map();
    this.calls = new Map();
    this.nextId = 1;
    this.failures = 0;
    this.open();
    setInterval(() => this.ping(), 2000);
  }

  open() {
    this.events.status("connecting");
    this.connected = false;
    const socket = new SockJS("/sockjs", undefined, { transports: this.transports });
    this.socket = socket;
    socket.onopen = () => this.send({ msg: "connect", version: "1", support: ["1"] });
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      this[`on_${message.msg}`]?.(message);
    };
    socket.onclose = () => this.closed(socket);
  }

  /** SockJS may take long to notice that the other end is gone, so this does not wait for it. */
  closed(socket) {
    if (socket !== this.socket) {
      return;
    }
    this.socket = undefined;
    this.connected = false;
    this.pinged = undefined;
    socket.close();
    // The first try comes at once; then it waits longer each time, a little random.
    const wait = this.failures === 0 ? 50 : Math.min(500 * 2 ** this.failures, 10_000);
    this.failures += 1;
    const delay = wait * (0.75 + Math.random() / 2);
    this.events.status("waiting", delay);
    setTimeout(() => this.open(), delay);
  }

  send(message) {
    this.socket.send(JSON.stringify(message));
  }

  subscribe(name) {
    this.subscriptions.set(name, { msg: "sub", id: name, name, params: [] });
    if (this.connected) {
      this.send(this.subscriptions.get(name));
    }
  }

  call(method, ...params) {
    const id = String(this.nextId++);
    const message = { msg: "method", id, method, params };
    return new Promise((resolve, reject) => {
      this.calls.set(id, { resolve, reject, message });
      if (this.connected) {
        this.send(message);
      }
    });
  }

  documents(collection) {
    return this.collections.get(collection)?.documents ?? new Map();
  }

  /** Measures the round trip, and notices a connection that is dead. */
  ping() {
    if (!this.connected) {
      return;
    }
    if (this.pinged === undefined) {
      this.pinged = performance.now();
      this.send({ msg: "ping", id: "latency" });
    } else if (performance.now() - this.pinged > 12_000) {
      this.closed(this.socket);
    }
  }

  on_connected() {
    this.connected = true;
    this.failures = 0;
    // What is known stays in view until the new host has sent everything.
    for (const collection of this.collections.values()) {
      collection.incoming = new Map();
    }
    for (const message of this.subscriptions.values()) {
      this.send(message);
    }
    for (const { message } of this.calls.values()) {
      this.send(message);
    }
    this.events.status("connected");
    this.ping();
  }

  on_ping({ id }) {
    this.send({ msg: "pong", ...(id !== undefined && { id }) });
  }

  on_pong() {
    this.events.latency(performance.now() - this.pinged);
    this.pinged = undefined;
  }

  on_added(message) {
    this.target(message).set(message.id, message.fields ?? {});
    this.events.change(message.collection, message);
  }

  on_changed(message) {
    const { id, fields = {}, cleared = [] } = message;
    const document = { ...this.target(message).get(id), ...fields };
    for (const name of cleared) {
      delete document[name];
    }
    this.target(message).set(id, document);
    this.events.change(message.collection, message);
  }

  on_removed(message) {
    this.target(message).delete(message.id);
    this.events.change(message.collection, message);
  }

  on_ready({ subs }) {
    for (const name of subs) {
      const collection = this.collection(name);
      collection.documents = collection.incoming ?? collection.documents;
      collection.incoming = undefined;
      this.events.change(name, { msg: "ready" });
    }
  }

  on_result({ id, result, error }) {
    const call = this.calls.get(id);
    this.calls.delete(id);
    if (error) {
      call?.reject(new Error(error.reason));
    } else {
      call?.resolve(result);
    }
  }

  collection(name) {
    if (!this.collections.has(name)) {
      this.collections.set(name, { documents: new Map() });
    }
    return this.collections.get(name);
  }

  target({ collection }) {
    const { documents, incoming } = this.collection(collection);
    return incoming ?? documents;
  }
}
