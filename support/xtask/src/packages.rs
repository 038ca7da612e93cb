//! Packages of the operating system, where it is Debian or its kin. Everything installed is said.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use crate::process;

/// A program the tests need and the package it comes in.
pub(crate) struct Need {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    pub(crate) why: &'static str,
}

/// Installs what is missing, in one go.
pub(crate) fn provide(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !process::exists(need.program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    for need in &missing {
        println!("Missing: {} ({})", need.program, need.why);
    }
    install(&packages)?;
    for need in missing {
        if !process::exists(need.program) {
            bail!("{} was installed, but there is no `{}` on the path", need.package, need.program);
        }
    }
    Ok(())
}

/// Installs packages with apt, as root or with a `sudo` that asks nothing.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if !process::exists("apt-get") {
        bail!("install these with the system's package manager, then run this again: {list}");
    }
    println!("Installing with apt-get: {list}");
    static UPDATED: AtomicBool = AtomicBool::new(false);
    if !UPDATED.swap(true, Ordering::Relaxed) {
        apt(&["update"]).map_err(|error| cannot(&list, &error))?;
    }
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments).map_err(|error| cannot(&list, &error))
}

fn cannot(list: &str, error: &anyhow::Error) -> anyhow::Error {
    anyhow::anyhow!("run `sudo apt-get install {list}`, then this again ({error:#})")
}

fn apt(arguments: &[&str]) -> Result<()> {
    let is_root = process::output_of(process::command("id").arg("-u")).as_deref() == Some("0");
    let mut command = if is_root {
        process::command("apt-get")
    } else {
        let mut command = process::command("sudo");
        command.args(["-n", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    };
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=300"]);
    process::run_quietly(command.args(arguments), "installing packages")
}
