// An application as a user of the JavaScript SDK 2 writes it: routes, key-value store, database and variables.

import { Kv, ResponseBuilder, Router, Sqlite, Variables } from "@fermyon/spin-sdk";

const router = Router();

router.get("/", (_, request, response) => {
  response.send(`${Variables.get("greeting")} from JavaScript`);
});

router.post("/key/:name", async ({ params }, request, response) => {
  Kv.openDefault().set(params.name, await request.text());
  response.send("stored");
});

router.get("/key/:name", ({ params }, request, response) => {
  const store = Kv.openDefault();
  if (!store.exists(params.name)) return response.status(404).send("not stored");
  response.send(new TextDecoder().decode(store.get(params.name)));
});

router.post("/notes", async (_, request, response) => {
  const database = Sqlite.openDefault();
  database.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)", []);
  database.execute("INSERT INTO notes (text) VALUES (?)", [await request.text()]);
  response.send("noted");
});

router.get("/notes", (_, request, response) => {
  const { rows } = Sqlite.openDefault().execute("SELECT text FROM notes ORDER BY rowid", []);
  response.send(rows.map((row) => row.text).join("\n"));
});

router.all("*", (_, request, response) => {
  response.status(404).send("no such page");
});

async function answer(request) {
  return new Promise((resolve, reject) => {
    router.handleRequest(request, new ResponseBuilder(resolve)).catch(reject);
  });
}

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
