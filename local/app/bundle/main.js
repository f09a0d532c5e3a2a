// As in every bundle that `meteor build` makes: the server program does the rest.
process.chdir(require("node:path").join(__dirname, "programs", "server"));
require("./programs/server/boot.js");
