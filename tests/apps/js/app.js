// An application as a user of the JavaScript tools writes it: key-value store, database and variables, by the
// interfaces that package.json names.

import { Store } from "fermyon:spin/key-value@2.0.0";
import { Connection } from "fermyon:spin/sqlite@2.0.0";
import { get as variable } from "fermyon:spin/variables@2.0.0";

async function answer(request) {
  const { pathname } = new URL(request.url);
  const [first, name] = pathname.slice(1).split("/");
  switch (`${request.method} /${first}`) {
    case "GET /":
      return text(`${variable("greeting")} from JavaScript`);
    case "POST /key":
      Store.open("default").set(name, new Uint8Array(await request.arrayBuffer()));
      return text("stored");
    case "GET /key": {
      const value = Store.open("default").get(name);
      return value === undefined ? text("not stored", 404) : text(new TextDecoder().decode(value));
    }
    case "POST /notes":
      query("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)");
      query("INSERT INTO notes (text) VALUES (?)", { tag: "text", val: await request.text() });
      return text("noted");
    case "GET /notes":
      return text(query("SELECT text FROM notes ORDER BY rowid").join("\n"));
    case "POST /js": {
      const reversed = Array.from(await request.text()).reverse().join("");
      return text(reversed);
    }
    case "GET /stream":
      return new Response(lines());
    case "GET /js":
      return new Response(`Hello from JavaScript at ${pathname}`, {
        headers: { "content-type": "text/plain", "x-language": "javascript" },
      });
    default:
      return text("no such page", 404);
  }
}

function query(statement, ...parameters) {
  const { rows } = Connection.open("default").execute(statement, parameters);
  return rows.map((row) => row.values[0].val);
}

function lines() {
  const encoder = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      for (let line = 0; line < 5; line += 1) {
        controller.enqueue(encoder.encode(`line ${line}\n`));
      }
      controller.close();
    },
  });
}

function text(body, status = 200) {
  return new Response(body, { status, headers: { "content-type": "text/plain" } });
}

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
