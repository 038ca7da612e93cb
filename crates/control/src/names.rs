//! What may be called how: apps, channels, repositories, tags, variables; and the host labels made of names.
//!
//! A name that passed here is safe in a URL, a file name and a page.

use gyre_package::registry::is_repository;

use crate::{Error, Result};

/// The longest host label (RFC 1035), in octets.
pub(crate) const HOST_LABEL: usize = 63;
/// The random end of an app's host label.
const SUFFIX: usize = 8;
/// Of these: lower case letters without vowels (no words by accident) and digits that are not taken for letters.
const SUFFIX_ALPHABET: &[u8; 26] = b"bcdfghjkmnpqrstvwxz2345679";

/// The form in which an app's name is kept: lower case, as the clients of the old cloud sent it.
///
/// # Errors
/// It is not letters and digits with single dots, underscores or dashes between them, or longer than 128 octets.
pub(crate) fn app_name(name: &str) -> Result<String> {
    let name = name.to_ascii_lowercase();
    // An app's revisions are pushed to a repository of its name.
    if name.len() > 128 || name.contains('/') || !is_repository(&name) {
        return Err(Error::invalid(
            "app.name_invalid",
            format!("{} cannot be the name of an app", shown(&name)),
        )
        .with_hint("a name is up to 128 letters and digits, with `-`, `_` or `.` between them"));
    }
    Ok(name)
}

/// Checks the name of a channel.
///
/// # Errors
/// It is not lower case letters and digits with single dashes between them, or longer than 32 octets.
pub(crate) fn channel_name(name: &str) -> Result<()> {
    let is_valid = (1..=32).contains(&name.len())
        && name.split('-').all(|part| !part.is_empty() && part.bytes().all(is_lower_or_digit));
    if is_valid {
        return Ok(());
    }
    Err(Error::invalid(
        "channel.name_invalid",
        format!("{} cannot be the name of a channel", shown(name)),
    )
    .with_hint("a name is up to 32 lower case letters and digits, with single `-` between them"))
}

/// Checks the name of a variable by Spin's rule: lower case words of letters and digits, joined by single underscores, the first
/// of them beginning with a letter.
///
/// # Errors
/// It is not that, or longer than 256 octets.
pub(crate) fn variable_name(name: &str) -> Result<()> {
    let is_valid = name.len() <= 256
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.split('_').all(|part| !part.is_empty() && part.bytes().all(is_lower_or_digit));
    if is_valid {
        return Ok(());
    }
    Err(Error::invalid(
        "variable.name_invalid",
        format!("{} cannot be the name of a variable", shown(name)),
    )
    .with_hint("a name is lower case letters and digits, with single `_` between them; it starts with a letter"))
}

/// Checks the name of a key-value store or database, or the label under which an app knows it.
///
/// # Errors
/// It is empty, longer than 128 octets, begins or ends with a space, or has control characters or a slash in it.
pub(crate) fn store_name(name: &str) -> Result<()> {
    let is_valid = (1..=128).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(|c| c.is_control() || c == '/' || c == '\\');
    if is_valid {
        return Ok(());
    }
    Err(Error::invalid(
        "store.name_invalid",
        format!("{} cannot be the name of a store", shown(name)),
    )
    .with_hint("a name is up to 128 octets, without slashes and control characters"))
}

fn is_lower_or_digit(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// A name as it is put into a message: quoted, escaped, cut.
fn shown(name: &str) -> String {
    let cut: String = name.chars().take(80).collect();
    let dots = if cut.len() < name.len() { "…" } else { "" };
    format!("'{}{dots}'", cut.escape_debug())
}

/// A new host label for an app of that (valid) name: its letters and digits, a dash and eight characters drawn by lot. One DNS
/// label, without two dashes in a row: those set a channel's name apart.
pub(crate) fn host_label(app_name: &str) -> Result<String> {
    let mut label = String::with_capacity(HOST_LABEL);
    for byte in app_name.bytes() {
        if is_lower_or_digit(byte) {
            label.push(char::from(byte));
        } else if !label.ends_with('-') {
            label.push('-');
        }
    }
    label.truncate(HOST_LABEL - SUFFIX - 1);
    let label = label.trim_matches('-');
    Ok(format!("{label}-{}", random_text(SUFFIX_ALPHABET, SUFFIX)?))
}

/// The host label of a channel: that of the app for the default one, else `<channel>--<app's>`.
///
/// # Errors
/// The two are too long together.
pub(crate) fn channel_label(channel: &str, app_label: &str) -> Result<String> {
    if channel == crate::DEFAULT_CHANNEL {
        return Ok(app_label.to_owned());
    }
    let label = format!("{channel}--{app_label}");
    if label.len() > HOST_LABEL {
        return Err(Error::invalid(
            "channel.name_too_long",
            format!(
                "the channel's name is too long: its host '{label}' would have {} characters, and {HOST_LABEL} are allowed",
                label.len()
            ),
        ));
    }
    Ok(label)
}

/// `length` characters of `alphabet`, each as likely as the others. The alphabet has at most 256.
pub(crate) fn random_text(alphabet: &[u8], length: usize) -> Result<String> {
    // Bytes beyond the last whole multiple are drawn anew, or the first characters would be likelier.
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    let mut pool = [0_u8; 32];
    while text.len() < length {
        getrandom::fill(&mut pool).map_err(|error| Error::internal(error.to_string()))?;
        let fair_bytes = pool.iter().map(|b| usize::from(*b)).filter(|b| *b < fair);
        let characters = fair_bytes.map(|b| char::from(alphabet[b % alphabet.len()]));
        text.extend(characters.take(length - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn app_names_are_kept_in_lower_case_and_are_path_components() {
        assert_eq!(app_name("Hello-World").unwrap(), "hello-world");
        for name in ["a", "a.b", "a_b", "a__b", "a---b", "0", &"a".repeat(128)] {
            assert!(app_name(name).is_ok(), "{name}");
        }
        for name in
            ["", "-a", "a-", "a..b", "a._b", "a___b", "a/b", "a b", "é", "a\n", &"a".repeat(129)]
        {
            assert_eq!(app_name(name).unwrap_err().code, "app.name_invalid", "{name}");
        }
    }

    #[test]
    fn variables_are_named_as_spin_names_them() {
        for name in ["a", "api_key", "k2_3"] {
            assert!(variable_name(name).is_ok(), "{name}");
        }
        for name in ["", "A", "2a", "_a", "a_", "a__b", "a-b", "a.b"] {
            assert!(variable_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn channels_have_a_host_of_their_own_unless_it_is_too_long() {
        assert_eq!(channel_label("production", "hello-abcdefgh").unwrap(), "hello-abcdefgh");
        assert_eq!(channel_label("pr-12", "hello-abcdefgh").unwrap(), "pr-12--hello-abcdefgh");
        assert!(channel_label("pr-12", &"a".repeat(57)).is_err());
        assert!(channel_name("pr-12").is_ok());
        for name in ["", "a--b", "-a", "a-", "A", "a_b", &"a".repeat(33)] {
            assert!(channel_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_message_shows_no_control_character_and_no_novel() {
        let message = app_name(&format!("\u{1b}[31m{}", "x".repeat(10_000))).unwrap_err().message;
        assert!(!message.contains('\u{1b}') && message.len() < 200, "{message}");
    }

    proptest! {
        #[test]
        fn each_valid_name_makes_a_valid_label(name in "[a-z0-9]([a-z0-9]|[-._][a-z0-9]){0,63}") {
            let name = app_name(&name).unwrap();
            let label = host_label(&name).unwrap();
            prop_assert!(label.len() <= HOST_LABEL);
            prop_assert!(!label.contains("--"));
            prop_assert!(!label.starts_with('-'));
            prop_assert!(label.bytes().all(|b| is_lower_or_digit(b) || b == b'-'));
            prop_assert_ne!(host_label(&name).unwrap(), label);
        }
    }
}
