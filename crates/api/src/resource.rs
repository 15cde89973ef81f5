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

/// Defines a kind: a struct of `metadata` and `spec`, and the traits by which clients and
/// `k8s-openapi` know objects. `scope` is `Cluster` or `Namespace`; `group` is [`crate::GROUP`]
/// unless said.
macro_rules! resource {
    (
        $(#[$doc:meta])*
        $name:ident($spec:ident), $kind:literal, $plural:literal, $scope:ident
    ) => {
        crate::resource::resource! {
            $(#[$doc])*
            $name($spec), $kind, $plural, $scope,
            (crate::GROUP, crate::VERSION, crate::API_VERSION)
        }
    };
    (
        $(#[$doc:meta])*
        $name:ident($spec:ident), $kind:literal, $plural:literal, $scope:ident,
        ($group:expr, $version:expr, $api_version:expr)
    ) => {
        $(#[$doc])*
        #[derive(
            Clone, Debug, Default, PartialEq, serde::Deserialize, serde::Serialize,
            schemars::JsonSchema,
        )]
        #[serde(
            try_from = "crate::resource::Envelope<_>",
            into = "crate::resource::Envelope<_>",
        )]
        #[schemars(!try_from, !into, rename = $kind)]
        pub struct $name {
            /// Standard metadata; the name identifies the object.
            #[schemars(schema_with = "crate::resource::metadata_schema")]
            pub metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            pub spec: $spec,
        }

        impl k8s_openapi::Resource for $name {
            const API_VERSION: &'static str = $api_version;
            const GROUP: &'static str = $group;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = crate::resource::$scope;
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
pub(crate) use k8s_openapi::{
    ClusterResourceScope as Cluster, NamespaceResourceScope as Namespace,
};
pub(crate) use resource;

/// Schema of `metadata`: the API server checks its contents itself.
pub(crate) fn metadata_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object" })
}

/// Schema of a value that is a number or a name, such as a port.
pub(crate) fn int_or_string_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}

/// Schema of a list of such values.
pub(crate) fn int_or_strings_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": { "x-kubernetes-int-or-string": true } })
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
                        "operator": {
                            "type": "string",
                            "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": { "type": "array", "items": { "type": "string" } },
                    },
                },
            },
        },
    })
}
