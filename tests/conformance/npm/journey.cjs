// A day with the official npm client: each step prints one line, {"step", "answer"} or {"step", "error"}, as JSON.
//
// node journey.cjs IMAGE VFOLDER_HOST, with BACKEND_ENDPOINT, BACKEND_ACCESS_KEY and BACKEND_SECRET_KEY in the environment
// and the client in NODE_PATH. The last step's line comes always; the exit status is 0 then.
"use strict";

// The client keeps its log in a browser's localStorage and asks whether the browser is online.
const kept = new Map();
globalThis.localStorage = {
  getItem: (key) => kept.get(key) ?? null,
  setItem: (key, value) => kept.set(key, value),
  removeItem: (key) => kept.delete(key),
};
globalThis.navigator ??= { onLine: true };

const { Client, ClientConfig } = require("backend.ai-client/backend.ai-client-node.js");

const [image, host] = process.argv.slice(2);
const client = new Client(ClientConfig.createFromEnv(), "conformance");
const session = "npm-session";
const folder = "npm-folder";

async function step(name, act) {
  let line;
  try {
    line = { step: name, answer: (await act()) ?? null };
  } catch (error) {
    line = { step: name, error: error instanceof Error ? { message: String(error) } : error };
  }
  console.log(JSON.stringify(line));
  return line.answer;
}

async function until(holds, look) {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const seen = await look();
    if (holds(seen) || Date.now() > deadline) return seen;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

async function main() {
  await step("version", () => client.get_manager_version());
  await step("query", () => client.query("query { keypair { access_key is_active } }", {}));
  await step("bad query", () => client.query("query { no_such_root }", {}));
  await step("groups", () => client.group.list());
  await step("images", () => client.image.list());
  await step("presets", () => client.resourcePreset.check({ group: "default" }));
  await step("hosts", () => client.vfolder.list_hosts());
  await step("create folder", () => client.vfolder.create(folder, host));
  await step("folders", () => client.vfolder.list());
  await step("folder", () => client.vfolder.info(folder));
  await step("mkdir", () => client.vfolder.mkdir("a", folder));
  await step("files", () => client.vfolder.list_files(".", folder));
  const wanted = { cpu: 1, mem: "256m", mounts: [folder], enqueueOnly: true, domain: "default", group_name: "default" };
  await step("create session", () => client.createIfNotExists(image, session, wanted, 30_000));
  await step("running", () => until((info) => info.status === "RUNNING", () => client.get_info(session)));
  await step("create again", () => client.createIfNotExists(image, session, { ...wanted, reuseIfExists: true }, 30_000));
  await step("sessions", () => client.computeSession.list());
  await step("logs", () => client.get_logs(session));
  await step("destroy", () => client.destroy(session));
  await step("no session", () => client.get_info("no-such-session"));
  const live = (list) => list.compute_session_list.items.some((item) => item.name === session);
  await step("ended", () => until((list) => !live(list), () => client.computeSession.list(undefined, "RUNNING,TERMINATING")));
  await step("delete folder", () => client.vfolder.delete(folder));
  await step("end", () => true);
}

main();
