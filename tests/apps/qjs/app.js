// An application as a user of componentize-qjs writes it: an asynchronous handler with key-value store, database and
// variables. Their interfaces are those without asynchronous functions, which this tool cannot import yet.

import keyValue from "fermyon:spin/key-value@2.0.0";
import variables from "fermyon:spin/variables@2.0.0";
import sqlite from "spin:sqlite/sqlite@3.0.0";
import types from "wasi:http/types@0.3.0";

const { Fields, Request, Response } = types;

export const handler = {
  async handle(request) {
    const path = (request.getPathWithQuery() ?? "/").split("?")[0];
    const method = request.getMethod().tag;
    const [first, name] = path.slice(1).split("/");
    const route = `${method} /${first}${name === undefined ? "" : "/:name"}`;
    switch (route) {
      case "get /":
        return answer(200, `${variables.get("greeting")} from QuickJS`);
      case "post /key/:name": {
        const store = keyValue.Store.open("default");
        store.set(name, await bodyOf(request));
        return answer(200, "stored");
      }
      case "get /key/:name": {
        const store = keyValue.Store.open("default");
        const value = store.get(name);
        return value === null ? answer(404, "not stored") : answer(200, decode(value));
      }
      case "post /notes": {
        const note = { tag: "text", val: decode(await bodyOf(request)) };
        query("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)", []);
        query("INSERT INTO notes (text) VALUES (?)", [note]);
        return answer(200, "noted");
      }
      case "get /notes": {
        const notes = query("SELECT text FROM notes ORDER BY rowid", []);
        return answer(200, notes.map((row) => row.values[0].val).join("\n"));
      }
      default:
        return answer(404, "no such page");
    }
  },
};

function query(statement, parameters) {
  return sqlite.Connection.open("default").execute(statement, parameters).rows;
}

async function bodyOf(request) {
  const done = wit.Future.from({ tag: "ok" }, wit.Future.RESULT_VOID_ERROR_CODE);
  const [chunks] = Request.consumeBody(request, done.readable);
  const bytes = [];
  for await (const chunk of chunks) bytes.push(...chunk);
  return new Uint8Array(bytes);
}

function answer(status, text) {
  const headers = Fields.fromList([["content-type", encode("text/plain")]]);
  const body = wit.Stream.from([encode(text)], wit.Stream.U8);
  const trailers = wit.Future.from({ tag: "ok", val: null }, wit.Future.RESULT_OPTION_OTHER_ERROR_CODE);
  const [response] = Response.new(headers, body.readable, trailers.readable);
  response.setStatusCode(status);
  return response;
}

// QuickJS comes without TextEncoder.
function encode(text) {
  return Uint8Array.from(unescape(encodeURIComponent(text)), (unit) => unit.charCodeAt(0));
}

function decode(bytes) {
  return decodeURIComponent(escape(String.fromCharCode(...bytes)));
}
