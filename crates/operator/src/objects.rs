//! Objects of any kind in the API server, as JSON.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::Value;
use tokio::time::timeout;

use crate::status::MANAGER;

/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(20);

/// Paths of the resources whose objects the operator makes, by `apiVersion` and `kind`.
const PATHS: [(&str, &str, &str); 8] = [
    (
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    ),
    (
        "rbac.authorization.k8s.io/v1",
        "ClusterRoleBinding",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    ),
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicy",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
    ),
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    ),
    ("v1", "ServiceAccount", "/api/v1/namespaces/brindle-system/serviceaccounts"),
    ("apps/v1", "DaemonSet", "/apis/apps/v1/namespaces/brindle-system/daemonsets"),
    ("v1", "Pod", "/api/v1/namespaces/brindle-system/pods"),
];

/// Why an object is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The operator makes no such objects.
    #[error("{0} is of a kind that the operator does not make")]
    Kind(String),
    /// No answer came.
    #[error("the API server does not answer")]
    Silent,
    /// The API server refused, or cannot be reached.
    #[error("the API server says: {0}")]
    Refused(String),
}

/// Where objects like this one are.
///
/// # Errors
/// It is of a kind that the operator does not make.
pub fn path_of(object: &Value) -> Result<&'static str, ObjectError> {
    let named = |(version, kind, _): &&(&str, &str, &str)| {
        object["apiVersion"] == *version && object["kind"] == *kind
    };
    let found = PATHS.iter().find(named);
    found.map(|(.., path)| *path).ok_or_else(|| ObjectError::Kind(title(object)))
}

/// The path of a kind in [`path_of`].
pub fn path(kind: &str) -> Option<&'static str> {
    PATHS.iter().find(|(_, known, _)| *known == kind).map(|(.., path)| *path)
}

/// Every such path but that of pods.
pub fn owned_paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    PATHS.iter().filter(|(_, kind, _)| *kind != "Pod").map(|(_, kind, path)| (*kind, *path))
}

/// The object's name.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// Kind and name, for people.
pub fn title(object: &Value) -> String {
    format!("{} {}", object["kind"].as_str().unwrap_or("object"), name(object))
}

/// The time, in whole seconds as everywhere in Kubernetes.
pub fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// The API server.
#[derive(Clone)]
pub struct Objects(Client);

impl Objects {
    /// That of a client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Makes the object so, as far as it says something, whoever said otherwise.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn apply(&self, path: &str, object: &Value) -> Result<Value, ObjectError> {
        let params = PatchParams::apply(MANAGER).force();
        let request = Request::new(path).patch(name(object), &params, &Patch::Apply(object));
        self.ask(request).await
    }

    /// As [`Self::apply`], of the object's status.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn apply_status(&self, path: &str, object: &Value) -> Result<(), ObjectError> {
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(object);
        let request = Request::new(path).patch_subresource("status", name(object), &params, &patch);
        self.ask(request).await.map(drop)
    }

    /// Changes an object by a JSON merge patch.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn merge(&self, path: &str, name: &str, patch: &Value) -> Result<(), ObjectError> {
        let request = Request::new(path).patch(name, &PatchParams::default(), &Patch::Merge(patch));
        self.ask(request).await.map(drop)
    }

    /// Makes the object, unless it is there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn create(&self, path: &str, object: &Value) -> Result<(), ObjectError> {
        let request = Request::new(path).create(&PostParams::default(), object.to_string().into());
        self.unless(409, request).await.map(drop)
    }

    /// The object, if it is there.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn get(&self, path: &str, name: &str) -> Result<Option<Value>, ObjectError> {
        self.unless(404, Request::new(path).get(name, &GetParams::default())).await
    }

    /// The objects with these labels.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn list(&self, path: &str, labels: Option<&str>) -> Result<Vec<Value>, ObjectError> {
        let mut params = ListParams::default();
        if let Some(labels) = labels {
            params = params.labels(labels);
        }
        match self.ask(Request::new(path).list(&params)).await?["items"].take() {
            Value::Array(items) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Deletes the object; what it owns goes after it.
    ///
    /// # Errors
    /// See [`ObjectError`].
    pub async fn delete(&self, path: &str, name: &str) -> Result<(), ObjectError> {
        let params = DeleteParams::background();
        self.unless(404, Request::new(path).delete(name, &params)).await.map(drop)
    }

    async fn unless(
        &self,
        code: u16,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Option<Value>, ObjectError> {
        let request = request.map_err(|error| ObjectError::Refused(error.to_string()))?;
        match timeout(ANSWER, self.0.request::<Value>(request)).await {
            Err(_) => Err(ObjectError::Silent),
            Ok(Ok(value)) => Ok(Some(value)),
            Ok(Err(kube::Error::Api(status))) if status.code == code => Ok(None),
            Ok(Err(kube::Error::Api(status))) => Err(ObjectError::Refused(status.message.clone())),
            Ok(Err(error)) => Err(ObjectError::Refused(error.to_string())),
        }
    }

    async fn ask(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, ObjectError> {
        // No answer has this code.
        Ok(self.unless(0, request).await?.unwrap_or_default())
    }
}
