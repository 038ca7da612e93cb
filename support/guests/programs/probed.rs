//! Asks its dependency what the request's path says; `/own/...` asks nobody and says what it has itself.

use ::guests::{Request, Responder};

wit_bindgen::generate!({
    inline: r#"
        package guests:probed;

        world dependent {
            import guests:probe/probe@1.0.0;
        }

        package guests:probe@1.0.0 {
            interface probe {
                ask: func(what: string) -> string;
            }
        }
    "#,
    generate_all,
});

::guests::serve!(handle);

fn handle(request: Request, responder: Responder) {
    match request.query("what") {
        Some(what) => responder.text(self::guests::probe::probe::ask(&what)),
        None => responder.text(format!("{:?}", std::env::var("MARK").ok())),
    }
}
