//! Secrets that hold passwords of neighbours, read from the API server: those that objects name, and
//! no others. An agent may read nothing of the kind until a Role names the Secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brindle_model::Name;
use brindle_sources::kubernetes::Connection;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Where they are.
const NAMESPACE: &str = "brindle-system";
/// How often they are read again. A neighbour's own change must come within the hold time.
const INTERVAL: Duration = Duration::from_secs(20);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What a Secret holds, or why it cannot be read.
type Contents = Result<BTreeMap<String, ByteString>, String>;

/// The Secrets that are named. Clones share them. They do not print.
#[derive(Clone, Default)]
pub struct Secrets(Arc<Shared>);

#[derive(Default)]
struct Shared {
    notes: Mutex<Notes>,
    asked: Notify,
}

#[derive(Default)]
struct Notes {
    /// There is an API server to ask.
    served: bool,
    wanted: BTreeSet<Name>,
    read: BTreeMap<Name, Contents>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Secrets").field(&self.notes().wanted).finish()
    }
}

impl Secrets {
    /// Reads what is named, on the connection's thread and as long as it lasts.
    pub fn start(&self, connection: &Connection) {
        self.notes().served = true;
        let objects = Api::namespaced(connection.client().clone(), NAMESPACE);
        connection.spawn(self.clone().read(objects));
    }

    /// Says which are named; others are forgotten.
    pub(super) fn want(&self, names: BTreeSet<Name>) {
        let mut notes = self.notes();
        if notes.wanted != names {
            notes.read.retain(|name, _| names.contains(name));
            notes.wanted = names;
            drop(notes);
            self.0.asked.notify_one();
        }
    }

    /// What stands under a key.
    ///
    /// # Errors
    /// It cannot be read; why, in words.
    pub(super) fn get(&self, name: &Name, key: &str) -> Result<Vec<u8>, String> {
        let notes = self.notes();
        if !notes.served {
            return Err("a folder has no Secrets; name a file of the node in `file`".to_owned());
        }
        match notes.read.get(name) {
            None => Err("it was not read yet".to_owned()),
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(data)) => match data.get(key) {
                Some(ByteString(octets)) => Ok(octets.clone()),
                None => Err(format!("it has no key `{key}`")),
            },
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(self, objects: Api<Secret>) {
        loop {
            let wanted = self.notes().wanted.clone();
            for name in &wanted {
                let contents = match timeout(ANSWER, objects.get(name)).await {
                    Ok(answer) => answer.map(|s| s.data.unwrap_or_default()).map_err(words),
                    Err(_) => Err("the API server does not answer".to_owned()),
                };
                let mut notes = self.notes();
                if notes.wanted.contains(name) {
                    notes.read.insert(name.clone(), contents);
                }
            }
            // Over time: they are read again.
            drop(timeout(INTERVAL, self.0.asked.notified()).await);
        }
    }
}

fn words(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 404 => "there is no such Secret".to_owned(),
        kube::Error::Api(status) if status.code == 403 => {
            "the agent may not read it: a Role in its namespace must name it, with the verb `get`"
                .to_owned()
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_not_kept_and_nothing_prints() {
        let (secrets, name) = (Secrets::default(), Name::from("tors"));
        assert!(secrets.get(&name, "a").unwrap_err().contains("a folder has no Secrets"));
        secrets.notes().served = true;
        secrets.want([name.clone()].into());
        assert_eq!(secrets.get(&name, "a").unwrap_err(), "it was not read yet");
        let data = BTreeMap::from([("a".to_owned(), ByteString(b"s3cret".to_vec()))]);
        secrets.notes().read.insert(name.clone(), Ok(data));
        assert_eq!(secrets.get(&name, "a").unwrap(), b"s3cret");
        assert_eq!(secrets.get(&name, "b").unwrap_err(), "it has no key `b`");
        assert!(!format!("{secrets:?}").contains("s3cret"));
        secrets.want(BTreeSet::new());
        secrets.want([name.clone()].into());
        assert_eq!(secrets.get(&name, "a").unwrap_err(), "it was not read yet");
    }
}
