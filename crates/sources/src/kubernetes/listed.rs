//! Everything that an API server has, read once.

use kube::Error;
use kube::api::GetParams;
use kube::core::Request;
use serde_json::Value;

use super::Connection;
use super::resource::{self, listing};
use super::status;
use super::store::{self, Store};
use super::watch::{End, Pages, Told};
use crate::decode::decode;
use crate::object::{Kind, ObjectKey};
use crate::snapshot::{Reader, Snapshot};

/// A kind could not be read whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server cannot be reached, or refuses.
    #[error("cannot list {0} objects")]
    Refused(Kind, #[source] Error),
    /// The server was silent for a minute, or has forgotten the list before its last page.
    #[error("the list of {0} objects did not come to its end; try again")]
    Unfinished(Kind),
}

/// Reads every kind, without watching it: the objects, and what
/// [`KubernetesSource`](super::KubernetesSource) would tell of them. The lists are of moments that
/// are close to each other and not one. A kind that the server does not have has no objects.
///
/// # Errors
/// See [`ReadError`].
pub fn read_once(connection: &Connection) -> Result<Snapshot, ReadError> {
    read_kinds(connection, &Kind::ALL)
}

/// The same of these kinds alone.
///
/// # Errors
/// See [`ReadError`].
pub fn read_kinds(connection: &Connection, kinds: &[Kind]) -> Result<Snapshot, ReadError> {
    connection.block_on(async {
        let (mut store, mut reader) = (Store::default(), Reader::default());
        for kind in kinds.iter().copied() {
            store.take(kind, Told::Listing);
            let version = list(connection, kind, &mut store, &mut reader).await?;
            store.take(kind, Told::Listed(version));
        }
        Ok(reader.finish(store.flush()))
    })
}

/// Reads the pages of a kind; the version of the list, empty if there is no such kind.
async fn list(
    connection: &Connection,
    kind: Kind,
    store: &mut Store,
    reader: &mut Reader,
) -> Result<String, ReadError> {
    let mut pages = Pages::new(&listing(kind));
    loop {
        let (objects, version) = match pages.next(connection.client()).await {
            Ok(page) => page,
            Err(End::Absent) => return Ok(String::new()),
            Err(End::Failed(error)) => return Err(ReadError::Refused(kind, error)),
            Err(_) => return Err(ReadError::Unfinished(kind)),
        };
        for mut object in objects {
            if let Some(key) = store::name(kind, &mut object) {
                reader.take(key.clone(), decode(&key, object.clone()));
            }
            store.take(kind, Told::Object(object));
        }
        if let Some(version) = version {
            return Ok(version);
        }
    }
}

/// What the status of an object says of the generation that it has: whether that is accepted. Nothing
/// if no agent has judged it, or the object is gone.
///
/// # Errors
/// The API server does not answer or refuses.
pub fn accepted(connection: &Connection, key: &ObjectKey) -> Result<Option<bool>, Error> {
    let request = Request::new(resource::path_of(key)).get(&key.name, &GetParams::default());
    let request = request.map_err(Error::BuildRequest)?;
    connection.block_on(async {
        let object = match connection.client().request::<Value>(request).await {
            Err(Error::Api(status)) if status.code == 404 => return Ok(None),
            answer => answer?,
        };
        Ok(status::accepted_in(&object))
    })
}
