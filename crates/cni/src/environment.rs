//! What the runtime says in the environment (specification 1.1.0, "Parameters").

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{CniError, ErrorCode};

/// `CNI_COMMAND`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make an interface.
    Add,
    /// Remove it.
    Del,
    /// Look whether it is as it was made.
    Check,
    /// Remove what is not in a list.
    Gc,
    /// Whether ADD can be served.
    Status,
    /// Which versions are spoken.
    Version,
}

impl Command {
    /// As the runtime writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
            Self::Version => "VERSION",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let all = [Self::Add, Self::Del, Self::Check, Self::Gc, Self::Status, Self::Version];
        all.into_iter().find(|command| command.as_str() == text)
    }
}

/// The variables, unchecked but for being text. What a command needs it asks for, and is told in
/// an error if it is absent or wrong.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    command: Option<String>,
    container_id: Option<String>,
    netns: Option<String>,
    interface: Option<String>,
    args: Option<String>,
}

/// The pod that `CNI_ARGS` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodArgs {
    /// `K8S_POD_NAMESPACE`.
    pub namespace: String,
    /// `K8S_POD_NAME`.
    pub name: String,
    /// `K8S_POD_UID`.
    pub uid: Option<String>,
}

impl Environment {
    /// Reads the variables by `get`. Empty ones are absent.
    ///
    /// # Errors
    /// One is not UTF-8.
    pub fn read(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, CniError> {
        let text = |name| match get(name).map(OsString::into_string) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(Err(_)) => Err(invalid(name, "is not UTF-8")),
        };
        Ok(Self {
            command: text("CNI_COMMAND")?,
            container_id: text("CNI_CONTAINERID")?,
            netns: text("CNI_NETNS")?,
            interface: text("CNI_IFNAME")?,
            args: text("CNI_ARGS")?,
        })
    }

    /// The command.
    ///
    /// # Errors
    /// It is absent or unknown.
    pub fn command(&self) -> Result<Command, CniError> {
        let text = required("CNI_COMMAND", self.command.as_deref())?;
        Command::parse(text).ok_or_else(|| invalid("CNI_COMMAND", &format!("`{text}` is unknown")))
    }

    /// The container: a letter or digit, then letters, digits, `_`, `.` and `-`.
    ///
    /// # Errors
    /// It is absent or ill-formed.
    pub fn container_id(&self) -> Result<&str, CniError> {
        let id = required("CNI_CONTAINERID", self.container_id.as_deref())?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if id.starts_with(|c: char| c.is_ascii_alphanumeric()) && id.chars().all(allowed) {
            return Ok(id);
        }
        Err(invalid("CNI_CONTAINERID", "must be letters, digits, `_`, `.` and `-`"))
    }

    /// The interface's name in the pod: what the kernel accepts as one.
    ///
    /// # Errors
    /// It is absent or ill-formed.
    pub fn interface(&self) -> Result<&str, CniError> {
        let name = required("CNI_IFNAME", self.interface.as_deref())?;
        let forbidden = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if name.len() > 15 || name == "." || name == ".." || name.contains(forbidden) {
            return Err(invalid("CNI_IFNAME", &format!("`{name}` is not an interface name")));
        }
        Ok(name)
    }

    /// Path of the pod's network namespace.
    ///
    /// # Errors
    /// It is absent.
    pub fn netns(&self) -> Result<PathBuf, CniError> {
        required("CNI_NETNS", self.netns.as_deref()).map(PathBuf::from)
    }

    /// The pod, from `CNI_ARGS`.
    ///
    /// # Errors
    /// The variable is ill-formed, lacks the pod, or has a key that is unknown while
    /// `IgnoreUnknown` is not set.
    pub fn pod(&self) -> Result<PodArgs, CniError> {
        let args = required("CNI_ARGS", self.args.as_deref())?;
        let (mut namespace, mut name, mut uid) = (None, None, None);
        let (mut unknown, mut ignore_unknown) = (None, false);
        for pair in args.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(invalid("CNI_ARGS", &format!("`{pair}` is not KEY=VALUE")));
            };
            match key {
                "K8S_POD_NAMESPACE" => namespace = Some(value.to_owned()),
                "K8S_POD_NAME" => name = Some(value.to_owned()),
                "K8S_POD_UID" => uid = Some(value.to_owned()),
                "IgnoreUnknown" => ignore_unknown = value == "1" || value == "true",
                // The sandbox's id, which is CNI_CONTAINERID.
                "K8S_POD_INFRA_CONTAINER_ID" => {}
                _ => unknown = unknown.or(Some(key)),
            }
        }
        if let Some(key) = unknown.filter(|_| !ignore_unknown) {
            return Err(invalid("CNI_ARGS", &format!("key `{key}` is unknown")));
        }
        let given = |key, value: Option<String>| match value.filter(|value| !value.is_empty()) {
            Some(value) => Ok(value),
            None => Err(invalid("CNI_ARGS", &format!("{key} is missing"))),
        };
        let namespace = given("K8S_POD_NAMESPACE", namespace)?;
        let name = given("K8S_POD_NAME", name)?;
        Ok(PodArgs { namespace, name, uid: uid.filter(|uid| !uid.is_empty()) })
    }
}

fn required<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str, CniError> {
    value.ok_or_else(|| invalid(name, "is not set"))
}

fn invalid(name: &str, what: &str) -> CniError {
    CniError::new(ErrorCode::InvalidEnvironment, format!("{name} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        let get = |name: &str| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Environment::read(get).unwrap()
    }

    #[test]
    fn what_is_absent_or_wrong_is_named() {
        let message = |e: CniError| {
            assert_eq!(e.code, ErrorCode::InvalidEnvironment);
            e.message
        };
        let empty = environment(&[("CNI_IFNAME", "")]);
        assert_eq!(message(empty.command().unwrap_err()), "CNI_COMMAND is not set");
        assert_eq!(message(empty.container_id().unwrap_err()), "CNI_CONTAINERID is not set");
        assert_eq!(message(empty.interface().unwrap_err()), "CNI_IFNAME is not set");
        assert_eq!(message(empty.netns().unwrap_err()), "CNI_NETNS is not set");
        let wrong = environment(&[
            ("CNI_COMMAND", "add"),
            ("CNI_CONTAINERID", "../etc"),
            ("CNI_IFNAME", "interface-with-a-long-name"),
        ]);
        assert_eq!(message(wrong.command().unwrap_err()), "CNI_COMMAND `add` is unknown");
        assert!(message(wrong.container_id().unwrap_err()).starts_with("CNI_CONTAINERID must"));
        assert!(message(wrong.interface().unwrap_err()).contains("is not an interface name"));
        for name in [".", "..", "a/b", "a:b", "a b", "a\n"] {
            assert!(environment(&[("CNI_IFNAME", name)]).interface().is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_pod_comes_from_the_arguments() {
        let pod = |args: &str| environment(&[("CNI_ARGS", args)]).pod();
        let full = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;\
                    K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u1;Other=x";
        let expected =
            PodArgs { namespace: "shop".into(), name: "web-0".into(), uid: Some("u1".into()) };
        assert_eq!(pod(full).unwrap(), expected);
        let error = |args: &str| pod(args).unwrap_err().message;
        assert_eq!(error("K8S_POD_NAME=a"), "CNI_ARGS K8S_POD_NAMESPACE is missing");
        assert_eq!(error("K8S_POD_NAMESPACE=a;K8S_POD_NAME="), "CNI_ARGS K8S_POD_NAME is missing");
        assert_eq!(error("nonsense"), "CNI_ARGS `nonsense` is not KEY=VALUE");
        assert_eq!(error("K8S_POD_NAMESPACE=a;K8S_POD_NAME=b;X=1"), "CNI_ARGS key `X` is unknown");
    }
}
