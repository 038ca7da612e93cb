//! Text that strangers wrote, on its way to a page or a terminal.

use std::fmt::{self, Display, Write as _};

/// Text for a page: in content and in quoted attributes.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '`' => f.write_str("&#96;")?,
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A line for the terminal of a client that prints what it gets: control characters are shown, not sent. Tabs stay.
pub(crate) fn for_terminal(line: &str) -> String {
    let mut safe = String::with_capacity(line.len());
    for c in line.chars() {
        if c.is_control() && c != '\t' { safe.extend(c.escape_default()) } else { safe.push(c) }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_stranger_wrote_becomes_markup() {
        let text = Escaped(r#"<script>alert('x')</script>" onload=`y` &amp;"#).to_string();
        assert!(!text.contains(['<', '>', '"', '\'', '`']), "{text}");
        assert!(text.ends_with("&amp;amp;"), "{text}");
        assert_eq!(Escaped("a\u{0}b\u{1b}").to_string(), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn nothing_a_guest_wrote_moves_the_cursor() {
        assert_eq!(for_terminal("a\tb \u{1b}[2J\u{9b}\r"), "a\tb \\u{1b}[2J\\u{9b}\\r");
    }
}
