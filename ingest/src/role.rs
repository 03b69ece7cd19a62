//! Roles: what a source may do. Each route names the roles that may call it.

use serde::{Deserialize, Serialize};

/// What a source may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Send events.
    Device,
    /// See and erase one's own data.
    Subject,
    /// Read log, files and totals.
    Auditor,
    /// Query by purpose.
    Analyst,
    /// Rule over policy and consent.
    Officer,
    /// Run the service.
    Operator,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 6] =
        [Self::Device, Self::Subject, Self::Auditor, Self::Analyst, Self::Officer, Self::Operator];

    /// Its name in `sources.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Subject => "subject",
            Self::Auditor => "auditor",
            Self::Analyst => "analyst",
            Self::Officer => "officer",
            Self::Operator => "operator",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone: what is published, and what load balancers ask.
    Public,
    /// Sources that have one of these roles and name their subjects. Signed sources have no business there.
    Roles(&'static [Role]),
    /// The same; and of signed sources, requests that a subject signed.
    RolesOrSigned(&'static [Role]),
    /// A subject by its signature, without a token; and sources that have one of these roles, for subjects that they name.
    Subject(&'static [Role]),
}

impl Access {
    /// The roles that reach it by a token alone; none for a public one, where no token is looked at.
    #[must_use]
    pub const fn roles(self) -> Option<&'static [Role]> {
        match self {
            Self::Public => None,
            Self::Roles(roles) | Self::RolesOrSigned(roles) | Self::Subject(roles) => Some(roles),
        }
    }

    /// Whether a signature has a meaning there.
    #[must_use]
    pub const fn takes_signed(self) -> bool {
        matches!(self, Self::RolesOrSigned(_) | Self::Subject(_))
    }
}

/// The names of roles, for messages.
pub(crate) fn names(roles: &[Role]) -> String {
    roles.iter().map(|role| role.name()).collect::<Vec<_>>().join(", ")
}
