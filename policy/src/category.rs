//! Data categories of the fideslang taxonomy, matched on dot boundaries.

/// A dotted data category: `user.location.precise`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Category(String);

impl Category {
    /// A category of one or more `snake_case` words joined by dots, or `None`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let word =
            |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        text.split('.').all(word).then(|| Self(text.to_owned()))
    }

    /// Whether `self` is `ancestor` or lies under it.
    #[must_use]
    pub fn is_under(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(&ancestor.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Category {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_on_dot_boundaries_only() {
        let category = |text| Category::parse(text).unwrap();
        assert!(category("user.location.precise").is_under(&category("user.location")));
        assert!(category("user.location").is_under(&category("user.location")));
        assert!(!category("user.locations").is_under(&category("user.location")));
        assert!(!category("user").is_under(&category("user.location")));
        assert_eq!(Category::parse("user..x"), None);
    }
}
