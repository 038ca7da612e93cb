//! Ratios that were stored when they were good, and whether today's have lost too much.

use std::{collections::BTreeMap, fmt, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::table::Table;

/// The share of a stored ratio that may be lost.
pub const TOLERANCE: f64 = 0.25;

const HEAD: &str = "# Answers per second of `gyre server`, divided by those of a bare hyper server that greets, on the same machine.\n\
                    # Written by `cargo xtask bench quick --store`; `cargo xtask bench quick` fails if one has lost more than 25 %.\n\n";

/// Ratios by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratios {
    /// Gyre ÷ bare hyper.
    pub ratios: BTreeMap<String, f64>,
}

impl Ratios {
    /// Those of a file.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs_err::read_to_string(file)
            .context("no ratios are stored; `cargo xtask bench quick --store` stores them")?;
        toml::from_str(&text).with_context(|| format!("{} has no ratios", file.display()))
    }

    /// Writes them to a file.
    pub fn write(&self, file: &Path) -> Result<()> {
        fs_err::write(file, self.text()?)?;
        Ok(())
    }

    fn text(&self) -> Result<String> {
        // More figures would only show noise.
        let rounded = |ratio: &f64| (ratio * 1e4).round() / 1e4;
        let ratios = self.ratios.iter().map(|(name, ratio)| (name.clone(), rounded(ratio)));
        Ok(format!("{HEAD}{}", toml::to_string(&Self { ratios: ratios.collect() })?))
    }

    /// Compares these with those that were stored.
    pub fn compare(&self, stored: &Self) -> Vec<Compared> {
        let names: std::collections::BTreeSet<_> =
            self.ratios.keys().chain(stored.ratios.keys()).collect();
        let compared = |name: &String| Compared {
            name: name.clone(),
            now: self.ratios.get(name).copied(),
            stored: stored.ratios.get(name).copied(),
        };
        names.into_iter().map(compared).collect()
    }
}

/// A ratio now and then. One that is on one side only is bad: either nobody stored it, or nobody measures it.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Measured now.
    pub now: Option<f64>,
    /// As it was stored.
    pub stored: Option<f64>,
}

impl Compared {
    /// Whether it has not lost too much.
    pub fn is_good(&self) -> bool {
        matches!((self.now, self.stored), (Some(now), Some(stored)) if now >= stored * (1.0 - TOLERANCE))
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.now, self.stored) {
            (Some(now), Some(stored)) => {
                let change = (now / stored - 1.0) * 100.0;
                write!(f, "{change:+.0} %")?;
                if self.is_good() { Ok(()) } else { write!(f, ": too much is lost") }
            }
            (Some(_), None) => write!(f, "not stored: use --store"),
            (None, _) => write!(f, "not measured"),
        }
    }
}

/// Them all.
pub fn table(compared: &[Compared]) -> Table {
    let mut table = Table::new(["gyre server ÷ bare hyper", "stored", "now", ""]);
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "–".to_owned(), |r| format!("{r:.3}"));
    for one in compared {
        table.add([one.name.clone(), ratio(one.stored), ratio(one.now), one.to_string()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratios(ratios: &[(&str, f64)]) -> Ratios {
        Ratios { ratios: ratios.iter().map(|(name, ratio)| ((*name).to_owned(), *ratio)).collect() }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ratios.toml");
        let missing = Ratios::read(&file).unwrap_err();
        assert!(format!("{missing:#}").contains("--store"), "{missing:#}");
        ratios(&[("hello", 0.333_333), ("hello-0.3", 0.5)]).write(&file).unwrap();
        let read = Ratios::read(&file).unwrap();
        assert_eq!(read, ratios(&[("hello", 0.3333), ("hello-0.3", 0.5)]));
        fs_err::write(&file, "[ratio]\nhello = 1.0\n").unwrap();
        assert!(Ratios::read(&file).is_err());
    }

    #[test]
    fn a_loss_of_more_than_a_quarter_is_bad() {
        let stored = ratios(&[("a", 0.4), ("b", 0.4), ("c", 0.4), ("gone", 0.4)]);
        let now = ratios(&[("a", 0.301), ("b", 0.299), ("c", 0.9), ("new", 0.4)]);
        let compared = now.compare(&stored);
        let good: Vec<_> =
            compared.iter().filter(|one| one.is_good()).map(|one| one.name.as_str()).collect();
        assert_eq!(good, ["a", "c"]);
        let told: Vec<_> = compared.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "-25 %",
                "-25 %: too much is lost",
                "+125 %",
                "not measured",
                "not stored: use --store"
            ]
        );
        let text = table(&compared).to_string();
        assert!(text.contains("| b                        |  0.400 | 0.299 |"), "{text}");
    }
}
