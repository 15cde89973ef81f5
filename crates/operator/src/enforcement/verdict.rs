//! What is said of an object, and how a status spells it.

use std::time::Duration;

use brindle_api::ResourceVersion;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

/// The condition's type.
const ENFORCED: &str = "Enforced";
/// Most nodes that a message names.
pub(super) const NAMED: usize = 3;

/// What there is to say of an object's enforcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The generation that it is about.
    pub generation: i64,
    /// The version with which that generation appeared.
    pub version: ResourceVersion,
    /// Whether it is enforced, and why not.
    pub reason: Reason,
    /// When the condition's status became what it is; `None` for now.
    pub since: Option<Box<str>>,
    /// Nodes that enforce it.
    pub enforced: usize,
    /// Nodes that must.
    pub desired: usize,
    /// A node that does not, or was among the last to.
    pub slowest: Option<Box<str>>,
    /// Nodes that do not, with their problems; not all of them.
    pub laggards: Vec<String>,
    /// For how long the generation has been there, if it was seen to appear.
    pub took: Option<Duration>,
}

/// Whether an object is enforced as it was written, and why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By every node that must.
    Enforced,
    /// Some nodes do not yet.
    Pending,
    /// Agents found something broken: it is not enforced as it was written.
    NotAccepted,
    /// No agent has said whether it is accepted.
    NotJudged,
    /// There is no node that could.
    NoNodes,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Self::Enforced => "Enforced",
            Self::Pending => "Pending",
            Self::NotAccepted => "NotAccepted",
            Self::NotJudged => "NotJudged",
            Self::NoNodes => "NoNodes",
        }
    }

    fn of(word: &str) -> Option<Self> {
        let all =
            [Self::Enforced, Self::Pending, Self::NotAccepted, Self::NotJudged, Self::NoNodes];
        all.into_iter().find(|reason| reason.word() == word)
    }

    fn status(self) -> &'static str {
        if self == Self::Enforced { "True" } else { "False" }
    }
}

impl Verdict {
    /// What the status of an object says.
    pub(super) fn read(object: &Value) -> Option<Self> {
        let condition = super::condition(object, ENFORCED)?;
        let enforcement = &object["status"]["enforcement"];
        let count = |name: &str| enforcement[name].as_u64().and_then(|n| usize::try_from(n).ok());
        Some(Self {
            generation: condition["observedGeneration"].as_i64()?,
            version: enforcement["resourceVersion"].as_str()?.parse().ok()?,
            reason: Reason::of(condition["reason"].as_str()?)?,
            since: condition["lastTransitionTime"].as_str().map(Into::into),
            enforced: count("enforcedNodes")?,
            desired: count("desiredNodes")?,
            slowest: enforcement["slowestNode"].as_str().map(Into::into),
            laggards: Vec::new(),
            took: None,
        })
    }

    /// Whether a status that says this need not be written to say `other`: of an object that stays
    /// enforced, the number of nodes is not followed, or each new node would cost a write an object.
    pub(super) fn is_as_good_as(&self, other: &Self) -> bool {
        let same = (self.generation, self.version, self.reason)
            == (other.generation, other.version, other.reason);
        let counted = (self.enforced, self.desired, &self.slowest)
            == (other.enforced, other.desired, &other.slowest);
        same && (self.reason == Reason::Enforced || counted)
    }

    /// When the condition's status became what it is, if `reason` does not change it.
    pub(super) fn since_if(&self, reason: Reason) -> Option<Box<str>> {
        self.since.clone().filter(|_| self.reason.status() == reason.status())
    }

    /// The status, as a server-side apply takes it.
    pub fn status(&self, now: Timestamp) -> Value {
        let since = match &self.since {
            Some(since) => since.to_string(),
            // Whole seconds, as everywhere in Kubernetes.
            None => Timestamp::from_second(now.as_second()).unwrap_or(now).to_string(),
        };
        let mut status = json!({
            "conditions": [{
                "type": ENFORCED,
                "status": self.reason.status(),
                "reason": self.reason.word(),
                "message": self.message(),
                "observedGeneration": self.generation,
                "lastTransitionTime": since,
            }],
            "enforcement": {
                "observedGeneration": self.generation,
                "resourceVersion": self.version.to_string(),
                "enforcedNodes": self.enforced,
                "desiredNodes": self.desired,
            },
        });
        if let Some(slowest) = &self.slowest {
            status["enforcement"]["slowestNode"] = (&**slowest).into();
        }
        status
    }

    fn message(&self) -> String {
        let Self { enforced, desired, .. } = self;
        match self.reason {
            Reason::Enforced => {
                let mut text = format!("on {enforced} of {desired} nodes");
                if let Some(took) = self.took {
                    text += &format!(", {:.1} s after the change", took.as_secs_f64());
                }
                if let Some(slowest) = &self.slowest {
                    text += &format!("; among the last was {slowest}");
                }
                text
            }
            Reason::Pending => {
                let more = (desired - enforced).saturating_sub(self.laggards.len());
                let mut text = format!("on {enforced} of {desired} nodes; not on ");
                text += &self.laggards.join(", ");
                if more > 0 {
                    text += &format!(" and {more} more");
                }
                text
            }
            Reason::NotAccepted => "not as it was written: see the condition Accepted".to_owned(),
            Reason::NotJudged => "no agent has judged this generation".to_owned(),
            Reason::NoNodes => "no node says what it enforces: do agents run?".to_owned(),
        }
    }
}
