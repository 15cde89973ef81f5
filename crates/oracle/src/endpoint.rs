//! What policies govern: pods, and interfaces of nodes.

use brindle_api::HostEndpoint;
use k8s_openapi::api::core::v1::Pod;

use crate::member::Member;
use crate::world::namespace_of;

/// The subject of a question.
#[derive(Clone, Copy)]
pub(crate) enum Endpoint<'a> {
    Pod(&'a Pod),
    Host(&'a HostEndpoint),
}

impl<'a> Endpoint<'a> {
    /// The pod, if it is one.
    pub(crate) fn pod(self) -> Option<&'a Pod> {
        match self {
            Self::Pod(pod) => Some(pod),
            Self::Host(_) => None,
        }
    }

    /// Its namespace; a host endpoint has none.
    pub(crate) fn namespace(self) -> Option<&'a str> {
        self.pod().map(|pod| namespace_of(&pod.metadata))
    }

    /// As something that selectors pick.
    pub(crate) fn member(self) -> Member<'a> {
        match self {
            Self::Pod(pod) => Member::Pod(pod),
            Self::Host(endpoint) => Member::Host(endpoint),
        }
    }
}
