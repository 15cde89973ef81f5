//! The task that writes the condition `Enforced` into objects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brindle_api::API_VERSION;
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::core::Request;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::warn;

use crate::enforcement::{ObjectKey, Verdict};

/// The owner of what is written.
pub const MANAGER: &str = "brindle-operator";
/// Pause after each write, so that there are at most 100 a second.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(2);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(10);

/// What is to be written; a later verdict on an object replaces an earlier one. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    due: Mutex<BTreeMap<ObjectKey, Verdict>>,
    changed: Notify,
}

impl Board {
    /// Notes what there is to say.
    pub fn note(&self, news: Vec<(ObjectKey, Verdict)>) {
        if !news.is_empty() {
            self.due().extend(news);
            self.0.changed.notify_one();
        }
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Verdict>> {
        self.0.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is noted, until dropped.
    pub async fn write(self, client: Client) {
        loop {
            let Some((key, verdict)) = self.due().pop_first() else {
                self.0.changed.notified().await;
                continue;
            };
            let error = match timeout(ANSWER, apply(&client, &key, &verdict)).await {
                Ok(Ok(())) => None,
                // It is gone, or its definition is.
                Ok(Err(kube::Error::Api(status))) if status.code == 404 => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("no answer in time".to_owned()),
            };
            match error {
                None => sleep(PAUSE).await,
                Some(error) => {
                    let (kind, name) = (key.kind.kind(), key.name.clone());
                    warn!(kind, name, error, "cannot write a status; trying again");
                    self.due().entry(key).or_insert(verdict);
                    sleep(AGAIN).await;
                }
            }
        }
    }
}

async fn apply(client: &Client, key: &ObjectKey, verdict: &Verdict) -> Result<(), kube::Error> {
    let (version, resource) = (key.kind.api_version(), key.kind.resource());
    let mut metadata = json!({ "name": &*key.name });
    let path = match &key.namespace {
        Some(namespace) => {
            metadata["namespace"] = (&**namespace).into();
            format!("/apis/{version}/namespaces/{namespace}/{resource}")
        }
        None => format!("/apis/{version}/{resource}"),
    };
    let mut status = verdict.status(Timestamp::now());
    if version != API_VERSION
        && let Some(status) = status.as_object_mut()
    {
        // Its definition has conditions and nothing else.
        status.remove("enforcement");
    }
    let object = json!({
        "apiVersion": version,
        "kind": key.kind.kind(),
        "metadata": metadata,
        "status": status,
    });
    let params = PatchParams::apply(MANAGER).force();
    let request = Request::new(path);
    let request = request.patch_subresource("status", &key.name, &params, &Patch::Apply(object));
    let request = request.map_err(kube::Error::BuildRequest)?;
    client.request::<Value>(request).await.map(drop)
}
