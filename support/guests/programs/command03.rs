//! A program of WASI 0.3: prints its arguments and what it reads.

use wasip3::cli::{environment, stdin, stdout};
use wasip3::wit_stream;

wasip3::cli::command::export!(Command);

struct Command;

impl wasip3::exports::cli::run::Guest for Command {
    async fn run() -> Result<(), ()> {
        let (input, _ended) = stdin::read_via_stream();
        let input = input.collect().await;
        let text = format!(
            "arguments: {:?}\ninput: {}\n",
            environment::get_arguments(),
            String::from_utf8_lossy(&input)
        );
        let (mut output, contents) = wit_stream::new();
        let written = stdout::write_via_stream(contents);
        output.write_all(text.into_bytes()).await;
        drop(output);
        written.await.map_err(drop)?;
        if environment::get_arguments().first().is_some_and(|it| it == "fail") {
            Err(())
        } else {
            Ok(())
        }
    }
}
