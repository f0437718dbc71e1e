//! Reading revisions of a database of this server.

use std::{io::Read as _, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{LocalPeer, Place};
use crate::{
    attachment::FoundAttachment,
    database::{AttachmentForm, Database, ShowOptions},
    document::Encoding,
    read::{FoundDocument, OpenRevs, Reader},
    replication::{
        context::Access,
        error::ReplicationError,
        peer::{
            CHUNK_BYTES, Fetched, Key, Parcel, Result, Wanted,
            attached::{Attached, AttachedItem, AttachedItems, PIECE_BYTES, PIECES, Part},
        },
    },
    revision::Rev,
};

/// What a replica wants to see.
fn show(wanted: &Wanted) -> ShowOptions {
    ShowOptions {
        revs: true,
        attachments: AttachmentForm::Follows,
        atts_since: (!wanted.ancestors.is_empty()).then(|| wanted.ancestors.clone()),
        att_encoding_info: true,
        ..ShowOptions::default()
    }
}

fn open<'r>(
    place: &Place,
    reader: &'r Reader,
    wanted: &'r Wanted,
) -> Result<Vec<std::result::Result<FoundDocument<'r>, Rev>>> {
    let revs = OpenRevs::These(std::slice::from_ref(&wanted.key.rev));
    reader.open_revs(&wanted.key.id, revs, true, &show(wanted)).map_err(|error| place.error(error))
}

impl LocalPeer {
    /// See [`super::super::Peer::fetch`]. A revision that is not there was purged after it was listed:
    /// there is nothing to replicate.
    pub(in crate::replication) async fn fetch(
        &self,
        wanted: &[Wanted],
        count: usize,
        as_text: bool,
    ) -> Result<Fetched> {
        let wanted: Vec<Wanted> = wanted.iter().take(count).cloned().collect();
        self.with(Access::Read, move |place, database| {
            let reader = database.read().map_err(|error| place.error(error))?;
            let mut fetched = Fetched::default();
            let mut bytes = 0;
            for wanted in wanted {
                if bytes > CHUNK_BYTES {
                    break;
                }
                fetched.taken += 1;
                fetched.attempted += 1;
                for found in open(place, &reader, &wanted)?.into_iter().flatten() {
                    match parcel(place, &wanted.key, &found, as_text)? {
                        Some(parcel) => {
                            bytes += parcel.bytes();
                            fetched.parcels.push(parcel);
                        }
                        None => fetched.singly.push(wanted.clone()),
                    }
                }
            }
            fetched.singly.dedup();
            Ok(fetched)
        })
        .await
    }

    /// See [`super::super::Peer::fetch_single`].
    pub(in crate::replication) async fn fetch_single(
        &self,
        wanted: &Wanted,
    ) -> Result<AttachedItems> {
        let (place, wanted) = (Arc::clone(&self.shared), wanted.clone());
        let permit = Place::permit(&place.streams.reading).await?;
        let (sender, items) = mpsc::channel(1);
        let reader = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let read = place
                .database(Access::Read)
                .and_then(|database| stream(&place, &database, &wanted, &sender));
            if let Err(error) = read {
                // Who does not listen any more does not need the error either.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Ok(AttachedItems { items, reader })
    }
}

/// A revision as a parcel; `None` if attachments have to be streamed.
fn parcel(
    place: &Place,
    key: &Key,
    found: &FoundDocument<'_>,
    as_text: bool,
) -> Result<Option<Parcel>> {
    let key = key.clone();
    if !as_text {
        let (document, following) = found.to_replica();
        return Ok(Some(Parcel::Document { key, document: Box::new(document), following }));
    }
    if found.following().next().is_some() {
        return Ok(None);
    }
    let mut json = Vec::new();
    found.write_json(&mut json).map_err(|error| place.error(error))?;
    let stubs = found.attachments().next().is_some();
    Ok(Some(Parcel::Text { key, json: json.into(), stubs }))
}

/// Sends what was found, and the bytes of attachments behind each.
fn stream(
    place: &Place,
    database: &Arc<Database>,
    wanted: &Wanted,
    items: &mpsc::Sender<Result<AttachedItem>>,
) -> Result<()> {
    let reader = database.read().map_err(|error| place.error(error))?;
    for found in open(place, &reader, wanted)? {
        let found = match found {
            Ok(found) => found,
            // Purged meanwhile.
            Err(_) => continue,
        };
        let mut json = Vec::new();
        found.write_json(&mut json).map_err(|error| place.error(error))?;
        let following: Vec<_> = found.following().collect();
        let (sender, data) = mpsc::channel(PIECES);
        let attached = Attached {
            key: wanted.key.clone(),
            json: json.into(),
            parts: following.iter().map(part).collect(),
            data,
            _place: None,
        };
        if items.blocking_send(Ok(AttachedItem::Document(attached))).is_err() {
            return Ok(());
        }
        // A writer that refuses the document lets go of the rest of it, and the next one may come.
        let _ = following.iter().try_for_each(|attachment| send(place, attachment, &sender));
    }
    Ok(())
}

fn part(attachment: &FoundAttachment) -> Part {
    let record = attachment.record();
    Part {
        name: record.name.clone(),
        content_type: record.content_type.clone(),
        gzip: record.encoding == Encoding::Gzip,
        length: record.stored_len,
    }
}

/// Sends the bytes of one attachment; fails when nobody wants them.
fn send(
    place: &Place,
    attachment: &FoundAttachment,
    sender: &mpsc::Sender<Result<Bytes>>,
) -> std::result::Result<(), ()> {
    let put = |piece| sender.blocking_send(piece).map_err(|_| ());
    let mut bytes = match attachment.stored() {
        Ok(bytes) => bytes,
        Err(error) => return put(Err(place.error(error))),
    };
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        match bytes.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                piece.truncate(length);
                put(Ok(piece.into()))?;
            }
            Err(error) => {
                let reason = format!("attachment {}: {error}", attachment.record().name);
                return put(Err(ReplicationError::Internal(reason)));
            }
        }
    }
}
