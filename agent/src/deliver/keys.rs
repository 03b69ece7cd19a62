//! The keys of a service: learned once, and followed where one signed the next.

use bytes::Bytes;
use candor_wire::identity::PublicKey;
use candor_wire::succession::{Succession, followers};
use http::Request;
use serde::Deserialize;

use super::{Halt, Stop};
use crate::call::Heard;
use crate::device::Device;
use crate::error::Error;
use crate::rim::Transport;

#[derive(Deserialize)]
pub(crate) struct KeysAnswer {
    fleet: String,
    receipts: Vec<KeyAnswer>,
    /// Keys of the log.
    #[serde(default)]
    pub(crate) log: Vec<LogKeyAnswer>,
    #[serde(default)]
    successions: Vec<Succession>,
}

#[derive(Deserialize)]
struct KeyAnswer {
    key: PublicKey,
}

#[derive(Deserialize)]
pub(crate) struct LogKeyAnswer {
    pub(crate) vkey: String,
}

impl Device {
    /// Learns the service's receipt key, once.
    pub(crate) async fn pin<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<(), Halt> {
        if self.state.receipt_key.is_some() {
            return Ok(());
        }
        let keys = self.keys_of(transport, epoch).await?;
        let first = keys.receipts.first().ok_or(Stop::OtherService("it signs no receipts"))?;
        let mut state = self.state.clone();
        state.receipt_key = Some(first.key);
        state.save(&*self.world.folder)?;
        self.state = state;
        Ok(())
    }

    /// Goes on to the key that follows the one that is known, if that one signed it; whether there is such a key.
    pub(crate) async fn follow<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<bool, Halt> {
        let Some(known) = self.state.receipt_key else { return Ok(false) };
        let keys = self.keys_of(transport, epoch).await?;
        let after = followers(&known, &keys.successions);
        let Some((newest, between)) = after.split_last() else { return Ok(false) };
        if keys.receipts.first().is_none_or(|first| first.key != *newest) {
            return Ok(false);
        }
        let mut state = self.state.clone();
        state.receipt_keys_before.push(known);
        state.receipt_keys_before.extend(between);
        state.receipt_key = Some(*newest);
        state.save(&*self.world.folder)?;
        self.state = state;
        Ok(true)
    }

    /// What anybody may read, without a signature.
    pub(crate) async fn read<T: Transport>(&mut self, transport: &mut T, path: &str) -> Result<Heard, Halt> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() =
            format!("{}{path}", transport.base()).parse().map_err(|_| Error::Address("its path cannot be used"))?;
        let heard = transport.exchange(request).await.map_err(|error| self.no_answer(error))?;
        self.judge(Heard::of(heard, self.caller.time()))
    }

    pub(crate) async fn keys_of<T: Transport>(&mut self, transport: &mut T, epoch: u64) -> Result<KeysAnswer, Halt> {
        if self.connected.replace((None, epoch)) != Some((None, epoch)) {
            transport.part();
        }
        let heard = self.read(transport, "/v1/keys").await?;
        let keys: Option<KeysAnswer> = serde_json::from_slice(&heard.body).ok();
        let Some(keys) = keys.filter(|_| heard.status.is_success()) else { return Err(self.wait(None)) };
        if keys.fleet != self.identity.fleet() {
            return Err(Stop::OtherService("it is another fleet's").into());
        }
        Ok(keys)
    }
}
