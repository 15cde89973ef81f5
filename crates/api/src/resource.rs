//! What every custom resource has around its spec.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An object as it stands in YAML: `apiVersion`, `kind`, `metadata`, `spec`. A `status`, which a
/// copy read back from an API server has, is not looked at.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Envelope<S> {
    pub api_version: String,
    pub kind: String,
    pub metadata: ObjectMeta,
    pub spec: S,
}

impl<S> Envelope<S> {
    /// Takes the parts of an object of kind `K`.
    ///
    /// # Errors
    /// It is of another kind or version.
    pub fn open<K: k8s_openapi::Resource>(self) -> Result<(ObjectMeta, S), String> {
        if self.api_version != K::API_VERSION || self.kind != K::KIND {
            return Err(format!(
                "this is {} {}, not {} {}",
                self.api_version,
                self.kind,
                K::API_VERSION,
                K::KIND
            ));
        }
        Ok((self.metadata, self.spec))
    }

    /// Wraps the parts of an object of kind `K`.
    pub fn close<K: k8s_openapi::Resource>(metadata: ObjectMeta, spec: S) -> Self {
        Self { api_version: K::API_VERSION.into(), kind: K::KIND.into(), metadata, spec }
    }
}

/// Gives a cluster-scoped kind, a struct of `metadata` and `spec`, the traits by which clients
/// and `k8s-openapi` know objects.
macro_rules! cluster_resource {
    ($name:ident, $spec:ident, $kind:literal, $plural:literal) => {
        impl k8s_openapi::Resource for $name {
            const API_VERSION: &'static str = crate::API_VERSION;
            const GROUP: &'static str = crate::GROUP;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = crate::VERSION;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = k8s_openapi::ClusterResourceScope;
        }

        impl k8s_openapi::Metadata for $name {
            type Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }

        impl TryFrom<crate::resource::Envelope<$spec>> for $name {
            type Error = String;

            fn try_from(envelope: crate::resource::Envelope<$spec>) -> Result<Self, String> {
                let (metadata, spec) = envelope.open::<Self>()?;
                Ok(Self { metadata, spec })
            }
        }

        impl From<$name> for crate::resource::Envelope<$spec> {
            fn from(object: $name) -> Self {
                Self::close::<$name>(object.metadata, object.spec)
            }
        }
    };
}
pub(crate) use cluster_resource;

/// Schema of `metadata`: the API server checks its contents itself.
pub(crate) fn metadata_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// Schema of a label selector, as Kubernetes defines it.
pub(crate) fn label_selector_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "matchLabels": { "type": "object", "additionalProperties": { "type": "string" } },
            "matchExpressions": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string" },
                        "operator": { "enum": ["In", "NotIn", "Exists", "DoesNotExist"] },
                        "values": { "type": "array", "items": { "type": "string" } },
                    },
                },
            },
        },
    })
}
