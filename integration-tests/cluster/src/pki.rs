//! Keys, certificates and kubeconfigs of one cluster, by `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::plan::{self, Families};

/// Makes everything into `folder`, for `nodes` nodes.
///
/// # Errors
/// `openssl` is missing or failed.
pub fn make(folder: &Path, families: Families, nodes: usize) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let pki = Pki { folder: folder.to_owned(), api: plan::api_url(families) };
    pki.authority("ca")?;
    pki.authority("front-proxy-ca")?;
    pki.key("sa")?;
    pki.openssl(&["ec", "-in", "sa.key", "-pubout", "-out", "sa.pub"])?;

    let names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"];
    let full = format!("kubernetes.default.svc.{}", plan::DOMAIN);
    let mut alternatives: Vec<_> =
        names.into_iter().chain([full.as_str()]).map(|name| format!("DNS:{name}")).collect();
    for family in families.each() {
        alternatives.push(format!("IP:{}", family.control()));
        alternatives.push(format!("IP:{}", family.api_service()));
    }
    alternatives.extend(["IP:127.0.0.1".to_owned(), "IP:::1".to_owned()]);
    pki.certificate("apiserver", "ca", "/CN=kube-apiserver", Some(&alternatives.join(",")))?;
    pki.certificate("front-proxy", "front-proxy-ca", "/CN=front-proxy-client", None)?;
    pki.certificate("apiserver-kubelet", "ca", "/O=system:masters/CN=kube-apiserver", None)?;

    pki.client("admin", "/O=system:masters/CN=admin")?;
    pki.client("controller-manager", "/CN=system:kube-controller-manager")?;
    pki.client("scheduler", "/CN=system:kube-scheduler")?;
    pki.client("proxy", "/CN=system:kube-proxy")?;
    for node in (1..=nodes).map(plan::node_name) {
        pki.client(&node, &format!("/O=system:nodes/CN=system:node:{node}"))?;
    }
    Ok(())
}

struct Pki {
    folder: PathBuf,
    api: String,
}

impl Pki {
    fn key(&self, name: &str) -> Result<()> {
        let out = format!("{name}.key");
        self.openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &out])
    }

    fn authority(&self, name: &str) -> Result<()> {
        self.key(name)?;
        let (key, out, subject) =
            (format!("{name}.key"), format!("{name}.crt"), format!("/CN=brindle-cluster {name}"));
        let start = ["req", "-x509", "-new", "-key", &key, "-subj", &subject, "-days", "365"];
        let may = "keyUsage=critical,keyCertSign,cRLSign,digitalSignature";
        let rest = ["-addext", may, "-out", &out];
        self.openssl(&[&start[..], &rest[..]].concat())
    }

    /// A certificate for a server if it has alternative names, else for a client.
    fn certificate(
        &self,
        name: &str,
        authority: &str,
        subject: &str,
        alternatives: Option<&str>,
    ) -> Result<()> {
        self.key(name)?;
        let extensions = match alternatives {
            Some(names) => format!("extendedKeyUsage=serverAuth\nsubjectAltName={names}\n"),
            None => "extendedKeyUsage=clientAuth\n".to_owned(),
        };
        let [key, request, extension, out] =
            ["key", "csr", "ext", "crt"].map(|ending| format!("{name}.{ending}"));
        fs::write(self.folder.join(&extension), extensions)?;
        self.openssl(&["req", "-new", "-key", &key, "-subj", subject, "-out", &request])?;
        let (ca, ca_key) = (format!("{authority}.crt"), format!("{authority}.key"));
        let start = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key];
        let rest = ["-CAcreateserial", "-days", "365", "-extfile", &extension, "-out", &out];
        self.openssl(&[&start[..], &rest[..]].concat())?;
        fs::remove_file(self.folder.join(&request))?;
        Ok(fs::remove_file(self.folder.join(&extension))?)
    }

    /// A client's certificate, and the kubeconfig that names it.
    fn client(&self, name: &str, subject: &str) -> Result<()> {
        self.certificate(name, "ca", subject, None)?;
        let path = |file: &str| self.folder.join(file).display().to_string();
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "brindle", "cluster": {
                "server": self.api,
                "certificate-authority": path("ca.crt"),
            }}],
            "users": [{"name": name, "user": {
                "client-certificate": path(&format!("{name}.crt")),
                "client-key": path(&format!("{name}.key")),
            }}],
            "contexts": [{"name": "brindle", "context": {"cluster": "brindle", "user": name}}],
            "current-context": "brindle",
        });
        let file = self.folder.join(format!("{name}.kubeconfig"));
        fs::write(&file, serde_json::to_vec_pretty(&config)?)
            .with_context(|| format!("write {}", file.display()))
    }

    fn openssl(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(&self.folder)
            .output()
            .context("start openssl; install the package openssl")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "openssl {}: {}", arguments.join(" "), said.trim());
        Ok(())
    }
}
