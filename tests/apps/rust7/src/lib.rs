//! An application as a user of the Rust SDK writes it: asynchronous key-value store, database and variables.

use http_body_util::BodyExt as _;
use spin_sdk::http::{IntoResponse, Request, Response, StatusCode};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};
use spin_sdk::variables;

#[http_service]
async fn handle(request: Request) -> anyhow::Result<impl IntoResponse> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let answer = match (head.method.as_str(), path.as_str()) {
        ("GET", "/") => text(200, format!("{} from Rust", variables::get("greeting").await?)),
        ("POST", "/notes") => {
            let note = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
            add_note(note).await?
        }
        ("GET", "/notes") => list_notes().await?,
        (method, path) => match (method, path.strip_prefix("/key/")) {
            ("POST", Some(name)) => {
                let value = body.collect().await?.to_bytes();
                Store::open_default().await?.set(name, value).await?;
                text(200, "stored")
            }
            ("GET", Some(name)) => match Store::open_default().await?.get(name).await? {
                Some(value) => text(200, String::from_utf8(value)?),
                None => text(404, "not stored"),
            },
            _ => text(404, "no such page"),
        },
    };
    Ok(answer)
}

async fn add_note(note: String) -> anyhow::Result<Response<String>> {
    let database = Connection::open_default().await?;
    let create = "CREATE TABLE IF NOT EXISTS notes (text TEXT NOT NULL)";
    database.execute(create, []).await?.result().await?;
    let insert = "INSERT INTO notes (text) VALUES (?)";
    database.execute(insert, [Value::Text(note)]).await?.result().await?;
    Ok(text(200, "noted"))
}

async fn list_notes() -> anyhow::Result<Response<String>> {
    let database = Connection::open_default().await?;
    let mut rows = database.execute("SELECT text FROM notes ORDER BY rowid", []).await?;
    let mut notes = Vec::new();
    while let Some(row) = rows.next().await {
        notes.push(row.get::<&str>(0).unwrap_or_default().to_owned());
    }
    rows.result().await?;
    Ok(text(200, notes.join("\n")))
}

fn text(status: u16, body: impl Into<String>) -> Response<String> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).expect("it is a status");
    response
}
