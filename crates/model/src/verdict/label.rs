//! Labels: decisions as one short word, for places of the kernel that hold little and say nothing
//! else (the name of a chain, the prefix of a logged packet), and back.
//!
//! ```text
//! np/<namespace>/<name>/ingress/3    a rule, by the short name of its policy's kind
//! gnp/<name>/egress/0                one of a kind without namespaces
//! tier/<name>   profile/<name>   spoof   unknown-endpoint   …
//! cut/<hash>/<what fits>             one that is too long, or has a character that nft cannot quote
//! ```

use super::{DecisionId, Direction, PolicyId, PolicyKind};
use crate::Name;
use crate::ruleset::content_hash;

/// Longest label, bytes: a netfilter log prefix holds 127 (`NF_LOG_PREFIXLEN` with its NUL), and
/// begins with a word for what happened.
pub const MAX_LABEL: usize = 120;

/// What a label says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Label {
    /// The decision.
    Decision(DecisionId),
    /// A decision whose label had to be cut: it begins with the decision's
    /// [`cut_label`](DecisionId::cut_label), so whoever knows the candidates can compare theirs.
    Cut(String),
}

impl DecisionId {
    /// The label: at most [`MAX_LABEL`] bytes of `A-Za-z0-9._/-`; different for different decisions.
    pub fn label(&self) -> String {
        self.label_within(MAX_LABEL)
    }

    /// The label for a place that holds less: at most `max` bytes, which must hold what
    /// [`Self::cut_label`] begins with, and a word.
    pub fn label_within(&self, max: usize) -> String {
        let (words, names): (String, Vec<&str>) = match self {
            Self::Rule { policy, direction, index } => {
                let names = policy.namespace.as_deref().into_iter().chain([&*policy.name]);
                let names: Vec<&str> = names.collect();
                let kind = policy.kind.short_name();
                (format!("{kind}/{}/{direction}/{index}", names.join("/")), names)
            }
            Self::TierEnd { tier } => (format!("tier/{tier}"), vec![tier]),
            Self::Profile { name } => (format!("profile/{name}"), vec![name]),
            other => return other.word().unwrap_or_default().to_owned(),
        };
        let whole = words.len() <= max && names.iter().all(|name| is_plain(name));
        if whole { words } else { cut(self, &words, max) }
    }

    /// What every cut label of the decision begins with, however much of it fits: tells it from the
    /// others.
    pub fn cut_label(&self) -> String {
        format!("cut/{:016x}", content_hash(&format!("{self:?}")))
    }

    /// Reads a label. `None` if nobody writes such a one.
    pub fn from_label(label: &str) -> Option<Label> {
        if label.len() > MAX_LABEL {
            return None;
        }
        let parts: Vec<&str> = label.split('/').collect();
        if let ["cut", hash, ..] = parts[..] {
            let known = hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
            return known.then(|| Label::Cut(label.to_owned()));
        }
        let decision = match parts[..] {
            [word] => Self::WORDS.into_iter().find(|id| id.word() == Some(word))?,
            ["tier", tier] => Self::TierEnd { tier: tier.into() },
            ["profile", name] => Self::Profile { name: name.into() },
            [kind, name, direction, index] => rule(kind, None, name, direction, index)?,
            [kind, namespace, name, direction, index] => {
                rule(kind, Some(namespace.into()), name, direction, index)?
            }
            _ => return None,
        };
        // What reads as something and is not how that is written is nobody's.
        (decision.label() == label).then_some(Label::Decision(decision))
    }

    /// The decisions that one word names.
    const WORDS: [Self; 12] = [
        Self::EndpointToHost,
        Self::NoProfile,
        Self::StageEnd,
        Self::Failsafe,
        Self::Established,
        Self::Revoked,
        Self::Invalid,
        Self::OwnNode,
        Self::NeighbourDiscovery,
        Self::UnknownEndpoint,
        Self::OverCapacity,
        Self::Spoof,
    ];

    fn word(&self) -> Option<&'static str> {
        match self {
            Self::Rule { .. } | Self::TierEnd { .. } | Self::Profile { .. } => None,
            Self::NoProfile => Some("no-profile"),
            Self::StageEnd => Some("stage-end"),
            Self::EndpointToHost => Some("endpoint-to-host"),
            Self::Failsafe => Some("failsafe"),
            Self::Established => Some("established"),
            Self::Revoked => Some("revoked"),
            Self::Invalid => Some("invalid"),
            Self::OwnNode => Some("own-node"),
            Self::NeighbourDiscovery => Some("neighbour-discovery"),
            Self::UnknownEndpoint => Some("unknown-endpoint"),
            Self::OverCapacity => Some("over-capacity"),
            Self::Spoof => Some("spoof"),
        }
    }
}

fn rule(
    kind: &str,
    namespace: Option<Name>,
    name: &str,
    direction: &str,
    index: &str,
) -> Option<DecisionId> {
    let kind = PolicyKind::ALL.into_iter().find(|k| k.short_name() == kind)?;
    let direction = Direction::ALL.into_iter().find(|d| d.to_string() == direction)?;
    let policy = PolicyId { name: name.into(), namespace, kind };
    Some(DecisionId::Rule { policy, direction, index: index.parse().ok()? })
}

/// Whether a name can stand in a label, and in an identifier of nft's.
pub fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    !name.is_empty() && name.chars().all(plain)
}

fn cut(decision: &DecisionId, words: &str, max: usize) -> String {
    let mut label = decision.cut_label() + "/";
    let readable = words
        .chars()
        .map(|c| if c == '/' || is_plain(c.encode_utf8(&mut [0; 4])) { c } else { '_' });
    label.extend(readable.take(max.saturating_sub(label.len())));
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: PolicyKind, namespace: Option<&str>, name: &str, index: u32) -> DecisionId {
        let policy = PolicyId { name: name.into(), namespace: namespace.map(Name::from), kind };
        DecisionId::Rule { policy, direction: Direction::Egress, index }
    }

    #[test]
    fn labels_are_read_back() {
        let mut all = DecisionId::WORDS.to_vec();
        all.push(DecisionId::TierEnd { tier: "default".into() });
        all.push(DecisionId::Profile { name: "kns.default".into() });
        for kind in PolicyKind::ALL {
            all.push(rule(kind, Some("ns"), "web.v1", 0));
            all.push(rule(kind, None, "web", u32::MAX));
        }
        for decision in all {
            let label = decision.label();
            assert_eq!(DecisionId::from_label(&label), Some(Label::Decision(decision)), "{label}");
        }
        let one = rule(PolicyKind::NetworkPolicy, Some("ns"), "web", 3).label();
        assert_eq!(one, "np.brindle/ns/web/egress/3");
    }

    #[test]
    fn long_and_odd_names_are_cut_and_stay_apart() {
        let long = "x".repeat(253);
        let mut cut: Vec<_> = (0..3)
            .map(|index| rule(PolicyKind::NetworkPolicy, Some("ns"), &long, index))
            .chain(["a/b", "a\"b", "", "ä"].map(|n| rule(PolicyKind::NetworkPolicy, None, n, 0)))
            .chain([DecisionId::TierEnd { tier: "a/b".into() }])
            .map(|decision| decision.label())
            .collect();
        for label in &cut {
            assert!(label.len() <= MAX_LABEL && label.is_ascii(), "{label}");
            assert_eq!(DecisionId::from_label(label), Some(Label::Cut(label.clone())));
        }
        cut.sort_unstable();
        cut.dedup();
        assert_eq!(cut.len(), 8);
    }

    #[test]
    fn a_shorter_label_is_cut_and_still_tells_which() {
        let decision =
            rule(PolicyKind::NetworkPolicy, Some("kube-system"), "allow-from-monitoring", 3);
        let label = decision.label_within(58);
        assert_eq!(decision.label(), "np.brindle/kube-system/allow-from-monitoring/egress/3");
        assert_eq!(label, decision.label(), "53 bytes fit");
        let label = decision.label_within(40);
        assert_eq!(label.len(), 40);
        assert!(label.starts_with(&decision.cut_label()), "{label}");
        assert_eq!(DecisionId::from_label(&label), Some(Label::Cut(label)));
    }

    #[test]
    fn other_words_are_nobodys() {
        let long = "x".repeat(MAX_LABEL + 1);
        for label in
            ["", "cut", "cut/1", "np/a/b/c", "np/a/b/ingress/+1", "np/a/b/ingress/01", &long]
        {
            assert_eq!(DecisionId::from_label(label), None, "{label}");
        }
    }
}
