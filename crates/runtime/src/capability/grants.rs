//! What a component may do, decided once, when it is loaded.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fmt::{self, Write as _},
};

use gyre_data::{Database, KeyValueStore};
use gyre_manifest::{hosts::HostError, template::TemplateError};
use gyre_model::{Application, LockedApp, locked::LockedComponent};

use super::{network::AllowedNetwork, variables::ComponentVariables};
use crate::spec::AppSpec;

/// The key-value stores and databases of an app, by the labels under which its components know them.
#[derive(Clone, Default)]
pub struct DataGrants {
    key_value: BTreeMap<String, KeyValueStore>,
    databases: BTreeMap<String, Database>,
}

impl DataGrants {
    /// With a key-value store under that label. Nothing is opened before a guest uses it.
    #[must_use]
    pub fn with_key_value(mut self, label: impl Into<String>, store: KeyValueStore) -> Self {
        self.key_value.insert(label.into(), store);
        self
    }

    /// With a database under that label. Nothing is opened before a guest uses it.
    #[must_use]
    pub fn with_database(mut self, label: impl Into<String>, database: Database) -> Self {
        self.databases.insert(label.into(), database);
        self
    }
}

impl fmt::Debug for DataGrants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataGrants")
            .field("key_value", &self.key_value.keys())
            .field("databases", &self.databases.keys())
            .finish()
    }
}

/// What one component may do.
pub(crate) struct Grants {
    /// Its variables.
    pub(crate) variables: ComponentVariables,
    /// Where it may connect to.
    pub(crate) network: AllowedNetwork,
    /// Its key-value stores, by label.
    pub(crate) stores: HashMap<String, KeyValueStore>,
    /// Its databases, by label.
    pub(crate) databases: HashMap<String, Database>,
    /// The language models that it may use.
    pub(crate) models: HashSet<String>,
}

/// Why an app cannot be given what its manifest asks for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrantError {
    /// A component asks for a key-value store that the app does not have.
    #[error("unknown key_value_stores label {label:?} for component {component:?}")]
    UnknownStore {
        /// The label.
        label: String,
        /// The component.
        component: String,
    },
    /// Components ask for databases that the app does not have.
    #[error("{}", unknown_databases(.0))]
    UnknownDatabases(Vec<(String, String)>),
    /// A template of a component's variable is not valid.
    #[error("component {component:?} has an invalid variable")]
    Variable {
        /// The component.
        component: String,
        #[source]
        source: TemplateError,
    },
    /// An entry of `allowed_outbound_hosts` is not valid.
    #[error("component {component:?} has an invalid entry in allowed_outbound_hosts")]
    Host {
        /// The component.
        component: String,
        #[source]
        source: HostError,
    },
}

impl Grants {
    /// What `component` of the application may do.
    ///
    /// # Errors
    /// The manifest asks for what the app was not given, or is not valid.
    pub(crate) fn resolve(
        spec: &AppSpec,
        application: &Application,
        component: &LockedComponent,
    ) -> Result<Self, GrantError> {
        let app = &application.locked;
        ensure_databases(spec, app)?;
        let id = || component.id.clone();
        let variables = ComponentVariables::new(app, component)
            .map_err(|source| GrantError::Variable { component: id(), source })?;
        let hosts = component.metadata_list("allowed_outbound_hosts");
        let ids = app.components.iter().map(|component| component.id.clone()).collect();
        let network = AllowedNetwork::new(&hosts, ids)
            .map_err(|source| GrantError::Host { component: id(), source })?;
        let stores =
            component.metadata_list("key_value_stores").into_iter().map(|label| {
                match spec.data.key_value.get(&label) {
                    Some(store) => Ok((label, store.clone())),
                    None => Err(GrantError::UnknownStore { label, component: id() }),
                }
            });
        let stores = stores.collect::<Result<_, _>>()?;
        let databases = component.metadata_list("databases").into_iter();
        let databases = databases
            .filter_map(|label| spec.data.databases.get(&label).cloned().map(|it| (label, it)));
        let models = component.metadata_list("ai_models").into_iter().collect();
        Ok(Self { variables, network, stores, databases: databases.collect(), models })
    }
}

/// Spin's words, component and label a line each.
fn unknown_databases(unknown: &[(String, String)]) -> String {
    let mut text = "One or more components use SQLite databases which are not defined.\n\
        Check the spelling, or pass a runtime configuration file that defines these stores.\n\
        Details:"
        .to_owned();
    for (component, label) in unknown {
        let _ = write!(text, "\n- Component {component} uses database '{label}'");
    }
    text
}

fn ensure_databases(spec: &AppSpec, app: &LockedApp) -> Result<(), GrantError> {
    let unknown: Vec<_> = app
        .components
        .iter()
        .flat_map(|component| {
            let labels = component.metadata_list("databases").into_iter();
            labels.map(|label| (component.id.clone(), label))
        })
        .filter(|(_, label)| !spec.data.databases.contains_key(label))
        .collect();
    if unknown.is_empty() { Ok(()) } else { Err(GrantError::UnknownDatabases(unknown)) }
}
