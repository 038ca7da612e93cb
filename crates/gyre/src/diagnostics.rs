//! Shows what is wrong with a manifest beside the lines it is about, as rustc does.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use gyre_manifest::{Diagnostic, Diagnostics, Severity};

use crate::printer;

/// Shows diagnostics of the manifest `text` at `path`.
pub(crate) fn show(path: &str, text: &str, diagnostics: &Diagnostics) {
    for diagnostic in diagnostics.errors().chain(diagnostics.warnings()) {
        printer::note(render(path, text, diagnostic));
    }
}

fn render(path: &str, text: &str, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.message.as_str());
    let mut group = match &diagnostic.span {
        None => Group::with_title(title),
        Some(span) => {
            let within = |span: &std::ops::Range<usize>| {
                let end = span.end.min(text.len());
                span.start.min(end)..end
            };
            let mut snippet = Snippet::source(text)
                .path(path)
                .annotation(AnnotationKind::Primary.span(within(span)));
            for (span, label) in &diagnostic.labels {
                let context = AnnotationKind::Context.span(within(span));
                snippet = snippet.annotation(context.label(label.as_str()));
            }
            title.element(snippet)
        }
    };
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    // anstream takes the colours away where they cannot be shown.
    Renderer::styled().render(&[group])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_at_its_line() {
        let text = "spin_manifest_version = 2\n[application]\nnmae = \"x\"\n";
        let diagnostics = gyre_manifest::Manifest::parse(text).unwrap_err();
        let shown: String =
            diagnostics.errors().map(|each| render("spin.toml", text, each)).collect();
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert!(plain.contains("spin.toml:3:1"), "{plain}");
        assert!(plain.contains("nmae = \"x\""), "{plain}");
    }
}
