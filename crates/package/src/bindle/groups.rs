//! Which parcels are needed.

use std::collections::{BTreeMap, BTreeSet};

use super::{Invoice, Parcel, SatisfiedBy};

/// Why it cannot be said which parcels are needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A parcel speaks of a group that there is not.
    #[error("parcel {parcel:?} speaks of the group {group:?}, which the invoice does not define")]
    Undefined {
        /// The parcel's name.
        parcel: String,
        /// The group's.
        group: String,
    },
    /// Two groups by one name.
    #[error("the invoice has two groups {0:?}")]
    Twice(String),
    /// A group needs itself, by way of its members.
    #[error("the group {0:?} requires itself")]
    Cycle(String),
}

/// What somebody wants of a bindle.
///
/// By itself it asks for everything that is needed, and of groups of which one member is enough or none, for all.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    features: BTreeMap<(String, String), String>,
    groups: BTreeSet<String>,
    is_least: bool,
}

impl Selection {
    /// Only parcels that have this value of a feature, or have nothing of the feature.
    #[must_use]
    pub fn with_feature(
        mut self,
        section: impl Into<String>,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        self.features.insert((section.into(), name.into()), value.into());
        self
    }

    /// That group, too, needed or not.
    #[must_use]
    pub fn with_group(mut self, group: impl Into<String>) -> Self {
        self.groups.insert(group.into());
        self
    }

    /// Of groups of which one is enough, only the first; of those of which none is needed, none.
    #[must_use]
    pub fn least(mut self) -> Self {
        self.is_least = true;
        self
    }

    /// The parcels that are needed, in the invoice's order.
    pub fn of<'a>(&self, invoice: &'a Invoice) -> Result<Vec<&'a Parcel>, GroupError> {
        let members = members(invoice)?;
        no_cycles(invoice, &members)?;
        let mut wanted = BTreeSet::new();
        let mut groups: Vec<&str> = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut take = |index: usize, groups: &mut Vec<&'a str>| {
            if wanted.insert(index) {
                let requires = &invoice.parcel[index].conditions.requires;
                groups.extend(requires.iter().map(String::as_str));
            }
        };
        for (index, parcel) in invoice.parcel.iter().enumerate() {
            if parcel.conditions.member_of.is_empty() && self.has_features(parcel) {
                take(index, &mut groups);
            }
        }
        for group in &invoice.group {
            if group.required || self.groups.contains(&group.name) {
                groups.push(&group.name);
            }
        }
        while let Some(name) = groups.pop() {
            if !seen.insert(name) {
                continue;
            }
            let (satisfied_by, members) = &members[name];
            let fitting =
                members.iter().filter(|index| self.has_features(&invoice.parcel[**index]));
            let count = match satisfied_by {
                SatisfiedBy::OneOf if self.is_least => 1,
                SatisfiedBy::Optional if self.is_least => 0,
                _ => usize::MAX,
            };
            for index in fitting.take(count) {
                take(*index, &mut groups);
            }
        }
        Ok(wanted.into_iter().map(|index| &invoice.parcel[index]).collect())
    }

    fn has_features(&self, parcel: &Parcel) -> bool {
        self.features.iter().all(|((section, name), value)| {
            let features = parcel.label.feature.get(section);
            features.and_then(|all| all.get(name)).is_none_or(|has| has == value)
        })
    }
}

type Members<'a> = BTreeMap<&'a str, (SatisfiedBy, Vec<usize>)>;

/// Each group's members, by their place in the invoice.
fn members(invoice: &Invoice) -> Result<Members<'_>, GroupError> {
    let mut members = Members::new();
    for group in &invoice.group {
        if members.insert(&group.name, (group.satisfied_by, Vec::new())).is_some() {
            return Err(GroupError::Twice(group.name.clone()));
        }
    }
    for (index, parcel) in invoice.parcel.iter().enumerate() {
        let undefined = |group: &String| GroupError::Undefined {
            parcel: parcel.label.name.clone(),
            group: group.clone(),
        };
        for group in &parcel.conditions.member_of {
            members.get_mut(group.as_str()).ok_or_else(|| undefined(group))?.1.push(index);
        }
        if let Some(group) =
            parcel.conditions.requires.iter().find(|group| !members.contains_key(group.as_str()))
        {
            return Err(undefined(group));
        }
    }
    Ok(members)
}

/// Takes away, again and again, the groups that need nothing that is left; what stays needs itself.
fn no_cycles(invoice: &Invoice, members: &Members<'_>) -> Result<(), GroupError> {
    let mut needs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (group, (_, indexes)) in members {
        let requires = indexes.iter().flat_map(|index| &invoice.parcel[*index].conditions.requires);
        let requires: BTreeSet<&str> = requires.map(String::as_str).collect();
        for other in &requires {
            needed_by.entry(other).or_default().push(group);
        }
        needs.insert(group, requires);
    }
    let mut free: Vec<&str> =
        needs.iter().filter(|(_, others)| others.is_empty()).map(|(group, _)| *group).collect();
    while let Some(group) = free.pop() {
        needs.remove(group);
        for other in needed_by.remove(group).unwrap_or_default() {
            if let Some(others) = needs.get_mut(other)
                && others.remove(group)
                && others.is_empty()
            {
                free.push(other);
            }
        }
    }
    needs.keys().next().map_or(Ok(()), |group| Err(GroupError::Cycle((*group).to_owned())))
}
