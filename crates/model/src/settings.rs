//! What an application says to Gyre and `spin.toml` has no word for.
//!
//! Written by developers under `[application.tool.gyre]`, carried as an annotation of the OCI manifest, so
//! that it is part of what the revision's digest covers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The table `[application.tool.gyre]`. Unknown keys are errors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// A path that must answer 2xx before a new revision gets requests. Without it no request is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_path: Option<String>,
    /// Limits tighter, or within the server's ceilings wider, than its defaults.
    #[serde(skip_serializing_if = "LimitSettings::is_default")]
    pub limits: LimitSettings,
}

impl Settings {
    /// The annotation of the OCI manifest that carries the settings, as JSON.
    pub const ANNOTATION: &'static str = "dev.gyre.settings";
}

/// The limits an app may ask for: `[application.tool.gyre.limits]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LimitSettings {
    /// All linear memories of an instance together, in MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Processor time of one request, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u32>,
    /// Time until the response's head, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte_ms: Option<u32>,
    /// Time until the response's end, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<u32>,
    /// Requests in flight at once on a node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

impl LimitSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// `limits` with what is asked for here, each held to its ceiling.
    #[must_use]
    pub fn apply(&self, limits: &crate::Limits, ceilings: &crate::Limits) -> crate::Limits {
        fn pick<T: Ord + Copy>(
            asked: Option<T>,
            given: Option<T>,
            ceiling: Option<T>,
        ) -> Option<T> {
            match (asked.or(given), ceiling) {
                (Some(value), Some(ceiling)) => Some(value.min(ceiling)),
                (value, None) => value,
                (None, ceiling) => ceiling,
            }
        }
        let ms = |n: u32| Duration::from_millis(u64::from(n));
        crate::Limits {
            memory_bytes: pick(
                self.memory_mib.map(|n| u64::from(n) << 20),
                limits.memory_bytes,
                ceilings.memory_bytes,
            ),
            cpu_time: pick(self.cpu_ms.map(ms), limits.cpu_time, ceilings.cpu_time),
            first_byte_time: pick(
                self.first_byte_ms.map(ms),
                limits.first_byte_time,
                ceilings.first_byte_time,
            ),
            total_time: pick(self.total_ms.map(ms), limits.total_time, ceilings.total_time),
            concurrency: pick(self.concurrency, limits.concurrency, ceilings.concurrency),
            ..limits.clone()
        }
    }
}
