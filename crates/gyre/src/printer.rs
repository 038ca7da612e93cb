//! The only place that writes to the terminal: data on standard output, everything else on standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the place")]

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::commands::Hinted;

/// Prints a line of data. A reader that has gone away ends the program quietly, as it does others.
pub(crate) fn data(line: impl std::fmt::Display) {
    if writeln!(anstream::stdout(), "{line}").is_err() {
        leave();
    }
}

/// Prints data as indented JSON.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    data(serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints a line for people.
pub(crate) fn note(line: impl std::fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Prints a warning.
pub(crate) fn warning(text: impl std::fmt::Display) {
    let style = anstyle::AnsiColor::Yellow.on_default().bold();
    note(format_args!("{style}warning{style:#}: {text}"));
}

/// Prints an error and its causes, as Spin does, and what can be done about it.
pub(crate) fn error(error: &anyhow::Error) {
    let style = anstyle::AnsiColor::Red.on_default().bold();
    let hint = error.downcast_ref::<Hinted>();
    // The hint is wrapped around the error that it is about.
    let mut chain = error.chain().skip(usize::from(hint.is_some()));
    let mut previous = chain.next().map(ToString::to_string).unwrap_or_default();
    note(format_args!("{style}Error{style:#}: {previous}"));
    let causes: Vec<String> = chain
        .map(ToString::to_string)
        .filter(|cause| {
            // Errors of other libraries often repeat their source.
            let is_new = !previous.contains(cause.as_str());
            previous.clone_from(cause);
            is_new
        })
        .collect();
    if !causes.is_empty() {
        note("\nCaused by:");
        for (at, cause) in causes.iter().enumerate() {
            let cause = cause.replace('\n', "\n       ");
            match causes.len() {
                1 => note(format_args!("    {cause}")),
                _ => note(format_args!("    {at}: {cause}")),
            }
        }
    }
    if let Some(Hinted(hint)) = hint {
        note(format_args!("\nhint: {hint}"));
    }
}

/// A bar for `total` bytes on a terminal, nothing elsewhere. It vanishes when it is dropped.
pub(crate) fn progress(total: u64, what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::new(total).with_message(what.to_owned());
    bar.set_style(style.expect("the template is well formed").progress_chars("=> "));
    bar
}

/// A spinner with a message on a terminal, nothing elsewhere.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(what.to_owned());
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

/// `text` with control characters made visible, so that what others wrote cannot steer the terminal.
pub(crate) fn inert(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let is_inert = c == '\t' || !c.is_control();
            let escaped = (!is_inert).then(|| c.escape_default());
            is_inert.then_some(c).into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

#[allow(clippy::exit, reason = "nobody reads any more")]
fn leave() -> ! {
    std::process::exit(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guests_write_cannot_steer_the_terminal() {
        assert_eq!(inert("a\tb\u{1b}[2Jé"), "a\tb\\u{1b}[2Jé");
    }
}
