//! A look whether a cluster works: one pod a node, each to each in every family, the service by
//! address, name and node port, logs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use brindle_lab::netns::Netns;
use brindle_lab::process::wait_until;
use serde_json::{Value, json};

use crate::images;
use crate::kubectl::Kubectl;
use crate::plan::{CONTROL, DOMAIN};

const NAMESPACE: &str = "smoke";
const PORT: u16 = 8080;
/// How long one of them may take to hold, right after the pods are ready.
const SETTLE: Duration = Duration::from_secs(20);

/// Runs it; what it made is removed.
///
/// # Errors
/// Something does not answer.
pub fn run(kubectl: &Kubectl) -> Result<()> {
    let start = Instant::now();
    kubectl.apply(&objects()?.to_string())?;
    kubectl.run(&["-n", NAMESPACE, "rollout", "status", "daemonset/web", "--timeout=120s"])?;
    eprintln!("{:6.1} s  pods ready", start.elapsed().as_secs_f64());

    let listed = kubectl.run(&["-n", NAMESPACE, "get", "pods", "-o", "json"])?;
    let pods = Pod::list(&serde_json::from_str(&listed)?)?;
    let mut asked = 0;
    for from in &pods {
        for to in &pods {
            for address in &to.addresses {
                let answer = from.ask(kubectl, &at(address, PORT))?;
                ensure!(answer == to.name, "{} answered instead of {}", answer, to.name);
                asked += 1;
            }
        }
    }
    eprintln!("{:6.1} s  {asked} ways from pod to pod", start.elapsed().as_secs_f64());

    let service = kubectl.run(&["-n", NAMESPACE, "get", "service", "web", "-o", "json"])?;
    let service: Value = serde_json::from_str(&service)?;
    let addresses = texts(&service["spec"]["clusterIPs"]);
    let mut ways: Vec<String> = addresses.iter().map(|address| at(address, 80)).collect();
    ways.push(at(&format!("web.{NAMESPACE}.svc.{DOMAIN}"), 80));
    for from in &pods {
        for way in &ways {
            let answer = from.ask(kubectl, way)?;
            ensure!(pods.iter().any(|pod| pod.name == answer), "{way} answered {answer:?}");
        }
    }
    let port = service["spec"]["ports"][0]["nodePort"].to_string();
    let nodes = kubectl.run(&["get", "nodes", "-o", "json"])?;
    let nodes: Value = serde_json::from_str(&nodes)?;
    for node in nodes["items"].as_array().into_iter().flatten() {
        let address = node["status"]["addresses"][0]["address"].as_str().unwrap_or_default();
        fetch_from_outside(&at(address, port.parse()?))?;
    }
    let first = pods.first().context("there are pods")?;
    kubectl.run(&["-n", NAMESPACE, "logs", &first.name])?;
    eprintln!("{:6.1} s  services, names, node ports, logs", start.elapsed().as_secs_f64());
    kubectl.run(&["delete", "namespace", NAMESPACE, "--wait=false"]).map(drop)
}

struct Pod {
    name: String,
    addresses: Vec<String>,
}

impl Pod {
    fn list(listed: &Value) -> Result<Vec<Self>> {
        let pods = listed["items"].as_array().context("a list of pods")?.iter().map(|pod| {
            let name = pod["metadata"]["name"].as_str().context("a pod has a name")?.to_owned();
            let addresses = pod["status"]["podIPs"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(|entry| entry["ip"].as_str().map(str::to_owned));
            Ok(Self { name, addresses: addresses.collect() })
        });
        pods.collect()
    }

    /// What answers at `way` asked from this pod: its host name.
    fn ask(&self, kubectl: &Kubectl, way: &str) -> Result<String> {
        let url = format!("http://{way}/hostname");
        let curl = ["curl", "-g", "-s", "-S", "-m", "3", &url];
        let arguments = [&["-n", NAMESPACE, "exec", &self.name, "--"][..], &curl].concat();
        let mut answer = Ok(String::new());
        let waited = wait_until(SETTLE, "an answer", || {
            answer = kubectl.run(&arguments);
            Ok(answer.is_ok())
        });
        waited.and(answer).with_context(|| format!("{} asked {way}", self.name))
    }
}

fn fetch_from_outside(way: &str) -> Result<()> {
    let url = format!("http://{way}/hostname");
    wait_until(SETTLE, &format!("an answer at {url}"), || {
        let mut curl = Netns::existing(CONTROL).command("curl");
        Ok(curl.args(["-g", "-s", "-S", "-m", "3", &url]).output()?.status.success())
    })
}

fn at(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn objects() -> Result<Value> {
    let labels = json!({"app": "web"});
    let metadata = json!({"name": "web", "namespace": NAMESPACE});
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{
                    "name": "web",
                    "image": images::agnhost()?,
                    "args": ["netexec", format!("--http-port={PORT}")],
                    "ports": [{"containerPort": PORT}],
                    "readinessProbe": {
                        "httpGet": {"path": "/healthz", "port": PORT},
                        "periodSeconds": 1,
                    },
                }],
            }},
        }},
        {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {
            "type": "NodePort",
            "ipFamilyPolicy": "PreferDualStack",
            "selector": labels,
            "ports": [{"port": 80, "targetPort": PORT}],
        }},
    ]}))
}
