// Loaded before the application: tells Telegraf how late its event loop is, and how large its heap; and systemd, which
// waits for it, that the event loop turns.
const { spawn } = require("child_process");
const { createSocket } = require("dgram");
const { basename } = require("path");
const { monitorEventLoopDelay } = require("perf_hooks");
const { isMainThread } = require("worker_threads");

const resolution = 20;

// Processes and threads that the application starts load this too.
if (isMainThread && basename(process.argv[1] || "") === "main.js") {
  const socket = createSocket("udp4");
  socket.on("error", () => undefined);
  socket.unref();
  const delay = monitorEventLoopDelay({ resolution });
  delay.enable();
  setInterval(() => {
    // It measures the time between two ticks.
    const late = Math.max(0, delay.percentile(99) / 1e6 - resolution);
    delay.reset();
    socket.send(
      `node event_loop_delay=${late},heap_used=${process.memoryUsage().heapUsed}`,
      8094,
      "127.0.0.1",
    );
    if (process.env.WATCHDOG_USEC) {
      spawn("systemd-notify", ["WATCHDOG=1"], { stdio: "ignore" })
        .on("error", () => undefined)
        .unref();
    }
  }, 10000).unref();
}
