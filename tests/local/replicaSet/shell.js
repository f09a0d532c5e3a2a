// Run by mongosh: the set-up script, as often as the test says. It takes its time from the model, so that
// minutes of waiting pass at once, waits less for a host that is away, and ends here instead of ending the shell.
/* global connect, load, process */
const control = connect(`mongodb://${process.env.CONTROL}/admin?directConnection=true`);
const realConnect = connect;
let opened = [];
let printed = [];
globalThis.connect = (uri) => {
  const database = realConnect(
    uri.replace("serverSelectionTimeoutMS=2000", "serverSelectionTimeoutMS=200"),
  );
  opened.push(database);
  return database;
};
const realSetTimeout = setTimeout;
globalThis.setTimeout = (action, milliseconds) =>
  realSetTimeout(action, Math.min(milliseconds, 3000));
globalThis.sleep = (milliseconds) => control.adminCommand({ advance: milliseconds });
globalThis.print = (text) => printed.push(String(text));
globalThis.quit = (status) => {
  printed.push(`status ${status}`);
};
for (;;) {
  const { run } = control.adminCommand({ next: 1 });
  if (!run) break;
  Object.assign(process.env, run);
  printed = [];
  load(process.env.SCRIPT);
  for (const database of opened) database.getMongo().close();
  opened = [];
  control.adminCommand({ done: printed });
}
