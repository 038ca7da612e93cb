//! Variables of apps: set, deleted, listed by name. Values are sealed before they reach a row and never leave again but
//! for the release that uses them.

use std::{collections::BTreeMap, sync::Arc};

use gyre_model::Secret;
use gyre_store::{App, VariableChange};

use crate::{
    Actor, AppRef, Control, DEFAULT_CHANNEL, Error, ErrorKind, ReleaseView, Result, names,
    releases::variable_identity,
};

/// The longest value, in bytes.
const VALUE_BYTES: usize = 64 << 10;
/// How many variables an app may have.
const MAX_VARIABLES: usize = 1_000;

impl Control {
    /// Sets and deletes variables in one step, and makes a new release of what each channel serves, or waits to serve, with
    /// them. Returns that of the default channel, if it has any.
    pub async fn set_variables(
        self: &Arc<Self>,
        actor: &Actor,
        app: &AppRef,
        set: BTreeMap<String, Secret<String>>,
        delete: Vec<String>,
    ) -> Result<Option<ReleaseView>> {
        let app = self.find_app(actor, app).await?;
        let changes = self.variable_changes(&app, set, delete)?;
        let _turn = self.locks.of(app.id).await;
        if changes.is_empty() {
            return Ok(None);
        }
        let version = self.change_variables(&app, changes).await?;
        self.renew_releases(&app, version).await
    }

    /// A new release of everything that the app's channels serve or wait for. The app's lock is held.
    pub(crate) async fn renew_releases(
        self: &Arc<Self>,
        app: &App,
        variables_version: u64,
    ) -> Result<Option<ReleaseView>> {
        let mut of_default = None;
        for channel in self.db.channels(app.id).await? {
            let Some(id) = channel.desired_release.or(channel.active_release) else { continue };
            let Some(release) = self.db.release(id).await? else { continue };
            let new =
                self.make_release(app, channel.id, release.revision, variables_version).await?;
            if channel.name == DEFAULT_CHANNEL {
                of_default = Some(new);
            }
        }
        Ok(of_default)
    }

    /// The names of the variables that are set.
    pub async fn variables(&self, actor: &Actor, app: &AppRef) -> Result<Vec<String>> {
        let app = self.find_app(actor, app).await?;
        let variables = self.db.variables(app.id, None, app.variables_version).await?;
        Ok(variables.into_iter().map(|variable| variable.name).collect())
    }

    /// The changes as rows, sealed.
    pub(crate) fn variable_changes(
        &self,
        app: &App,
        set: BTreeMap<String, Secret<String>>,
        delete: Vec<String>,
    ) -> Result<Vec<VariableChange>> {
        let mut changes = Vec::with_capacity(set.len() + delete.len());
        for (name, value) in set {
            names::variable_name(&name)?;
            if value.expose().len() > VALUE_BYTES {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    "variable.too_large",
                    format!("the value of '{name}' is larger than {VALUE_BYTES} bytes"),
                ));
            }
            let identity = variable_identity(app.id, None, &name);
            let sealed = self.keyring.seal(&identity, value.expose().as_bytes());
            changes.push(VariableChange { name, channel: None, sealed: Some(sealed) });
        }
        for name in delete {
            names::variable_name(&name)?;
            changes.push(VariableChange { name, channel: None, sealed: None });
        }
        Ok(changes)
    }

    /// Makes the changes and returns the version that they make. The app's lock is held.
    pub(crate) async fn change_variables(
        &self,
        app: &App,
        changes: Vec<VariableChange>,
    ) -> Result<u64> {
        let version = self.db.app(app.id).await?.map_or(0, |app| app.variables_version);
        let there = self.db.variables(app.id, None, version).await?;
        let is_new = |change: &&VariableChange| {
            change.sealed.is_some() && !there.iter().any(|old| old.name == change.name)
        };
        if there.len() + changes.iter().filter(is_new).count() > MAX_VARIABLES {
            return Err(Error::invalid(
                "variable.too_many",
                format!("an app has at most {MAX_VARIABLES} variables"),
            ));
        }
        Ok(self.db.change_variables(app.id, changes, self.clock.now()).await?)
    }
}
