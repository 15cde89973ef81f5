//! What policies speak of is misread: namespaces, pods, service accounts, sets, slices, nodes.

use std::sync::Arc;

use brindle_model::cluster::Update;
use brindle_model::labels::Labels;
use ipnet::IpNet;

use super::Named;

/// See [`super::all`].
pub(super) const MISTAKES: &[Named<Update>] = &[
    ("a namespace has no labels", |u| {
        if let Update::Namespace(_, Some(namespace)) = u {
            Arc::make_mut(namespace).labels = Labels::default();
        }
    }),
    ("a namespace's own labels are lost", |u| {
        if let Update::Namespace(name, Some(namespace)) = u {
            let own = [("kubernetes.io/metadata.name", name.clone())];
            Arc::make_mut(namespace).labels = own.into_iter().collect();
        }
    }),
    ("a pod's labels are lost", |u| {
        if let Update::Pod(_, Some(pod)) = u {
            Arc::make_mut(pod).labels = Labels::default();
        }
    }),
    ("an empty label is lost", |u| {
        if let Update::Pod(_, Some(pod)) = u {
            let pod = Arc::make_mut(pod);
            let kept = pod.labels.iter().filter(|(_, value)| !value.is_empty());
            pod.labels = kept.map(|(k, v)| (k.clone(), v.clone())).collect();
        }
    }),
    ("a pod has one address", |u| {
        if let Update::Pod(_, Some(pod)) = u {
            Arc::make_mut(pod).addresses.truncate(1);
        }
    }),
    ("a pod runs as default", |u| {
        if let Update::Pod(_, Some(pod)) = u {
            Arc::make_mut(pod).service_account = Some("default".into());
        }
    }),
    ("a pod's named ports are lost", |u| {
        if let Update::Pod(_, Some(pod)) = u {
            Arc::make_mut(pod).ports.clear();
        }
    }),
    ("of several ports of one name the first counts", |u| {
        if let Update::Pod(_, Some(pod)) = u {
            Arc::make_mut(pod).ports.dedup_by(|b, a| a.name == b.name && a.protocol == b.protocol);
        }
    }),
    ("a named port is of the container's first protocol", |u| {
        if let Update::Pod(_, Some(pod)) = u {
            Arc::make_mut(pod).ports.dedup_by(|b, a| a.name == b.name);
        }
    }),
    ("a service account's labels are lost", |u| {
        if let Update::ServiceAccount(_, Some(account)) = u {
            Arc::make_mut(account).labels = Labels::default();
        }
    }),
    ("every service account is one of namespace x", |u| {
        if let Update::ServiceAccount(id, _) = u {
            id.namespace = "x".into();
        }
    }),
    ("a network set is empty", |u| {
        if let Update::NetworkSet(_, Some(set)) = u {
            Arc::make_mut(set).nets.clear();
        }
    }),
    ("of a network set the first prefix counts", |u| {
        if let Update::NetworkSet(_, Some(set)) = u {
            Arc::make_mut(set).nets.truncate(1);
        }
    }),
    ("a network set holds the first address of each prefix", |u| {
        if let Update::NetworkSet(_, Some(set)) = u {
            Arc::make_mut(set).nets.iter_mut().for_each(|net| *net = IpNet::from(net.addr()));
        }
    }),
    ("a network set has no labels", |u| {
        if let Update::NetworkSet(_, Some(set)) = u {
            Arc::make_mut(set).labels = Labels::default();
        }
    }),
    ("a network set has no namespace", |u| {
        if let Update::NetworkSet(id, _) = u {
            id.namespace = None;
        }
    }),
    ("a global network set is in a namespace", |u| {
        if let Update::NetworkSet(id, _) = u {
            id.namespace.get_or_insert("x".into());
        }
    }),
    ("what cannot be read of a network set is not missed", |u| {
        if let Update::NetworkSet(_, Some(set)) = u {
            Arc::make_mut(set).incomplete = false;
        }
    }),
    ("a network set that cannot be read whole is left out", |u| {
        if let Update::NetworkSet(_, set) = u {
            *set = set.take().filter(|set| !set.incomplete);
        }
    }),
    ("every network set is thought incomplete", |u| {
        if let Update::NetworkSet(_, Some(set)) = u {
            Arc::make_mut(set).incomplete = true;
        }
    }),
    ("what cannot be read of an endpoint slice is not missed", |u| {
        if let Update::EndpointSlice(_, Some(slice)) = u {
            Arc::make_mut(slice).incomplete = false;
        }
    }),
    ("every endpoint slice is thought incomplete", |u| {
        if let Update::EndpointSlice(_, Some(slice)) = u {
            Arc::make_mut(slice).incomplete = true;
        }
    }),
    ("of an endpoint slice the first address counts", |u| {
        if let Update::EndpointSlice(_, Some(slice)) = u {
            Arc::make_mut(slice).addresses.truncate(1);
        }
    }),
    ("of an endpoint slice the first port counts", |u| {
        if let Update::EndpointSlice(_, Some(slice)) = u {
            Arc::make_mut(slice).ports.truncate(1);
        }
    }),
    ("what cannot be read of a node is not missed", |u| {
        if let Update::Node(_, Some(node)) = u {
            Arc::make_mut(node).incomplete = false;
        }
    }),
    ("a node has one address", |u| {
        if let Update::Node(_, Some(node)) = u {
            Arc::make_mut(node).all_addresses.truncate(1);
        }
    }),
    ("a node's labels are lost", |u| {
        if let Update::Node(_, Some(node)) = u {
            Arc::make_mut(node).labels = Labels::default();
        }
    }),
];
