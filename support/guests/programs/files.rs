//! Mounted files: `/read?path=`, `/list?path=`, `/write?path=` (the body), `/remove?path=`,
//! `/link?path=&to=` (a symbolic link). An error is 500 and its text.

use std::fs;

use guests::{Request, Responder};

guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    let path = request.query("path").unwrap_or_else(|| "/".to_owned());
    let command = request.path();
    let outcome = match command.rsplit('/').next().unwrap_or_default() {
        "list" => fs::read_dir(&path).and_then(|entries| {
            let mut names = entries
                .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
                .collect::<Result<Vec<_>, _>>()?;
            names.sort();
            Ok(names.join("\n").into_bytes())
        }),
        "write" => fs::write(&path, request.bytes()).map(|()| Vec::new()),
        "remove" => fs::remove_file(&path).map(|()| Vec::new()),
        "link" => {
            let to = request.query("to").unwrap_or_default();
            #[allow(deprecated, reason = "the stable way to a symbolic link on this target")]
            fs::soft_link(to, &path).map(|()| Vec::new())
        }
        _ => fs::read(&path),
    };
    match outcome {
        Ok(bytes) => responder.send(200, &[], bytes),
        Err(error) => responder.send(500, &[], error.to_string()),
    }
}
