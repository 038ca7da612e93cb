//! An application as a user of the Rust SDK writes it: key-value store, database and variables.

use spin_sdk::http::{IntoResponse, Params, Request, Response, Router};
use spin_sdk::http_component;
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::variables;

#[http_component]
fn handle(request: Request) -> anyhow::Result<impl IntoResponse> {
    let mut router = Router::new();
    router.get("/", greet);
    router.post("/key/:name", store_value);
    router.get("/key/:name", read_value);
    router.post("/notes", add_note);
    router.get("/notes", list_notes);
    router.any("/*", |_: Request, _: Params| anyhow::Ok(Response::new(404, "no such page")));
    Ok(router.handle(request))
}

fn greet(_request: Request, _params: Params) -> anyhow::Result<Response> {
    let greeting = variables::get("greeting")?;
    Ok(text(format!("{greeting} from Rust")))
}

fn store_value(request: Request, params: Params) -> anyhow::Result<Response> {
    let name = params.get("name").unwrap_or("nameless");
    Store::open_default()?.set(name, request.body())?;
    Ok(text("stored".to_owned()))
}

fn read_value(_request: Request, params: Params) -> anyhow::Result<Response> {
    let name = params.get("name").unwrap_or("nameless");
    match Store::open_default()?.get(name)? {
        Some(value) => Ok(text(String::from_utf8(value)?)),
        None => Ok(Response::new(404, "not stored")),
    }
}

fn add_note(request: Request, _params: Params) -> anyhow::Result<Response> {
    let note = String::from_utf8(request.body().to_vec())?;
    let database = Connection::open_default()?;
    database.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)", &[])?;
    database.execute("INSERT INTO notes (text) VALUES (?)", &[Value::Text(note)])?;
    Ok(text("noted".to_owned()))
}

fn list_notes(_request: Request, _params: Params) -> anyhow::Result<Response> {
    let database = Connection::open_default()?;
    let result = database.execute("SELECT text FROM notes ORDER BY rowid", &[])?;
    let notes: Vec<&str> = result.rows().filter_map(|row| row.get::<&str>("text")).collect();
    Ok(text(notes.join("\n")))
}

fn text(body: String) -> Response {
    Response::builder().status(200).header("content-type", "text/plain").body(body).build()
}
