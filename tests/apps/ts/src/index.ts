// An application as a user of the TypeScript tools writes it: routes, key-value store, database and variables.

import { AutoRouter, type IRequest } from "itty-router";
import { infer } from "@spinframework/spin-llm";
import { Store } from "fermyon:spin/key-value@2.0.0";
import { Connection, type Value } from "fermyon:spin/sqlite@2.0.0";
import { get as variable } from "fermyon:spin/variables@2.0.0";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

const router = AutoRouter({ missing: () => text("no such page", 404) });

router
  .get("/", () => text(`${variable("greeting")} from TypeScript`))
  .post("/key/:name", async (request: IRequest) => {
    Store.open("default").set(request.params.name, encoder.encode(await request.text()));
    return text("stored");
  })
  .get("/key/:name", ({ params }) => {
    const value = Store.open("default").get(params.name);
    return value === undefined ? text("not stored", 404) : text(decoder.decode(value));
  })
  .post("/notes", async (request: IRequest) => {
    query("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)");
    query("INSERT INTO notes (text) VALUES (?)", { tag: "text", val: await request.text() });
    return text("noted");
  })
  .get("/notes", () => text(query("SELECT text FROM notes ORDER BY rowid").join("\n")))
  .post("/infer", async (request: IRequest) => {
    try {
      return text(infer("llama2-chat", await request.text()).text);
    } catch (error) {
      const { tag, val } = (error as { payload: { tag: string; val?: string } }).payload;
      return text(`${tag}: ${val ?? ""}`, 502);
    }
  });

addEventListener("fetch", (event: FetchEvent) => event.respondWith(router.fetch(event.request)));

/** The first column of what a statement finds. */
function query(statement: string, ...parameters: Value[]): string[] {
  const { rows } = Connection.open("default").execute(statement, parameters);
  return rows.map(({ values: [value] }) => (value?.tag === "text" ? value.val : ""));
}

function text(body: string, status = 200): Response {
  return new Response(body, { status, headers: { "content-type": "text/plain" } });
}
