//! Tickets by which clients resume (RFC 8446 §4.6.1, RFC 5077): sealed by keys that all workers share and nobody writes.
//!
//! ```text
//! ticket = name of the key (16) | salt (16) | AES-256-GCM(session) | tag (16)
//! key of the ticket = HMAC-SHA256(key, salt)
//! ```
//!
//! A key of its own for each ticket: no number of tickets comes near what one key of AES-GCM may seal with chosen nonces.
//! What a listener demands of clients is authenticated with each ticket: one that was given under other demands opens
//! nowhere (CVE-2025-23419). New keys come with a new [`TicketKeys`]; a worker's old one goes with its snapshot.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::{hmac, rand};
use corelane_engine::tls::rustls::server::ProducesTickets;

use crate::config::Tickets;

/// What opens and seals the tickets of a listener.
pub(crate) struct TicketKeys {
    /// The first one seals.
    keys: Vec<Key>,
    lifetime: u32,
    /// A hash of what the listener demands of clients.
    demands: [u8; 32],
}

#[derive(Clone)]
struct Key {
    name: [u8; NAME_LEN],
    secret: hmac::Key,
}

const NAME_LEN: usize = 16;
const SALT_LEN: usize = 16;
const TAG_LEN: usize = 16;

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        self.lifetime
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut salt = [0; SALT_LEN];
        rand::fill(&mut salt).ok()?;
        let mut ticket = Vec::with_capacity(NAME_LEN + SALT_LEN + plain.len() + TAG_LEN);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&salt);
        ticket.extend_from_slice(plain);
        let (head, sealed) = ticket.split_at_mut(NAME_LEN + SALT_LEN);
        let aad = self.aad(head);
        let tag = key.of_ticket(&salt)?.seal_in_place_separate_tag(nonce(), Aad::from(&aad), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_at_checked(NAME_LEN + SALT_LEN)?;
        let (name, salt) = head.split_at(NAME_LEN);
        // Names are no secret: they stand in every ticket.
        let key = self.keys.iter().find(|key| key.name == name)?;
        let mut sealed = sealed.to_vec();
        let aad = self.aad(head);
        let plain = key.of_ticket(salt)?.open_in_place(nonce(), Aad::from(&aad), &mut sealed).ok()?.len();
        sealed.truncate(plain);
        Some(sealed)
    }
}

impl TicketKeys {
    fn aad(&self, head: &[u8]) -> Vec<u8> {
        [head, &self.demands].concat()
    }
}

impl Key {
    fn of_chance() -> Option<Self> {
        let (mut name, mut secret) = ([0; NAME_LEN], [0; 32]);
        rand::fill(&mut name).ok()?;
        rand::fill(&mut secret).ok()?;
        Some(Self { name, secret: hmac::Key::new(hmac::HMAC_SHA256, &secret) })
    }

    /// The key of a period, made of what a fleet shares.
    fn of_secret(secret: &[u8], period: u64) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |what: &str| hmac::sign(&root, format!("corelane ticket {what} {period}").as_bytes());
        let mut name = [0; NAME_LEN];
        name.copy_from_slice(&derived("name").as_ref()[..NAME_LEN]);
        Self { name, secret: hmac::Key::new(hmac::HMAC_SHA256, derived("key").as_ref()) }
    }

    fn of_ticket(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let key = hmac::sign(&self.secret, salt);
        UnboundKey::new(&AES_256_GCM, key.as_ref()).ok().map(LessSafeKey::new)
    }
}

/// Each ticket has a key of its own, so each nonce is the first.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// The keys of a listener over time: they stay over reloads.
#[derive(Clone, Default)]
pub(crate) struct Rotation {
    /// Of chance, the newest first, with the time from which each seals.
    keys: VecDeque<(SystemTime, Key)>,
    /// When the next one comes; `None` before the first.
    due: Option<SystemTime>,
}

impl fmt::Debug for Rotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotation").field("due", &self.due).finish_non_exhaustive()
    }
}

impl Rotation {
    /// Whether new keys should be asked for.
    pub(crate) fn is_due(&self, now: SystemTime) -> bool {
        self.due.is_some_and(|due| now >= due)
    }

    /// The keys of now; `None` if there is no chance to be had.
    pub(crate) fn keys(
        &mut self,
        settings: &Tickets,
        demands: [u8; 32],
        now: SystemTime,
    ) -> Option<TicketKeys> {
        let keys = match &settings.secret {
            Some(secret) => self.of_secret(&secret.0, settings.lifetime, now),
            None => self.of_chance(settings.lifetime, now)?,
        };
        let lifetime = u32::try_from(settings.lifetime.as_secs()).unwrap_or(u32::MAX);
        Some(TicketKeys { keys, lifetime, demands })
    }

    fn of_secret(&mut self, secret: &[u8], lifetime: Duration, now: SystemTime) -> Vec<Key> {
        self.keys.clear();
        let period = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / lifetime.as_secs();
        self.due = Some(UNIX_EPOCH + Duration::from_secs((period + 1) * lifetime.as_secs()));
        // The next one too, since another machine's clock may be ahead.
        let periods = [period, period.saturating_sub(1), period + 1];
        periods.map(|period| Key::of_secret(secret, period)).into()
    }

    fn of_chance(&mut self, lifetime: Duration, now: SystemTime) -> Option<Vec<Key>> {
        let newest = self.keys.front().map(|(since, _)| *since);
        if newest.is_none_or(|since| now >= since + lifetime || now < since) {
            self.keys.push_front((now, Key::of_chance()?));
            self.keys.truncate(2);
        }
        // Over two lifetimes old: the process slept.
        self.keys.retain(|(since, _)| now < *since + lifetime * 2);
        self.due = self.keys.front().map(|(since, _)| *since + lifetime);
        Some(self.keys.iter().map(|(_, key)| key.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    const LIFETIME: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn settings(secret: Option<&str>) -> Tickets {
        Tickets { lifetime: LIFETIME, secret: secret.map(|text| Secret(text.as_bytes().into())) }
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let mut rotation = Rotation::default();
        let keys = rotation.keys(&settings(None), [1; 32], at(0)).unwrap();
        let ticket = keys.encrypt(b"session").unwrap();
        assert_eq!(keys.decrypt(&ticket).unwrap(), b"session");
        assert_ne!(ticket, keys.encrypt(b"session").unwrap(), "a salt for each");
        for at in 0..ticket.len() {
            let mut broken = ticket.clone();
            broken[at] ^= 1;
            assert!(keys.decrypt(&broken).is_none(), "byte {at}");
            assert!(keys.decrypt(&ticket[..at]).is_none(), "{at} bytes");
        }
        assert_eq!(keys.decrypt(&keys.encrypt(b"").unwrap()).unwrap(), b"");
    }

    #[test]
    fn tickets_given_under_other_demands_are_worth_nothing() {
        let mut rotation = Rotation::default();
        let lax = rotation.keys(&settings(None), [1; 32], at(0)).unwrap();
        let strict = rotation.keys(&settings(None), [2; 32], at(1)).unwrap();
        let ticket = lax.encrypt(b"session").unwrap();
        assert!(strict.decrypt(&ticket).is_none());
        assert!(rotation.keys(&settings(None), [1; 32], at(2)).unwrap().decrypt(&ticket).is_some());
    }

    #[test]
    fn keys_seal_for_a_lifetime_and_open_for_two() {
        for secret in [None, Some("0123456789abcdef")] {
            let mut rotation = Rotation::default();
            assert!(!rotation.is_due(at(0)));
            // A period of a secret's begins at a multiple of the lifetime, and so does this.
            let first = rotation.keys(&settings(secret), [0; 32], at(0)).unwrap();
            let ticket = first.encrypt(b"session").unwrap();
            assert!(!rotation.is_due(at(3599)));
            assert!(rotation.is_due(at(3600)));
            let second = rotation.keys(&settings(secret), [0; 32], at(3600)).unwrap();
            assert!(second.decrypt(&ticket).is_some());
            assert_ne!(second.encrypt(b"").unwrap()[..NAME_LEN], ticket[..NAME_LEN]);
            let third = rotation.keys(&settings(secret), [0; 32], at(7200)).unwrap();
            assert!(third.decrypt(&ticket).is_none());
        }
    }

    #[test]
    fn machines_with_one_secret_take_each_others_tickets() {
        let of = |secret: &str, seconds: u64| {
            Rotation::default().keys(&settings(Some(secret)), [0; 32], at(seconds)).unwrap()
        };
        let ticket = of("0123456789abcdef", 100).encrypt(b"session").unwrap();
        assert!(of("0123456789abcdef", 200).decrypt(&ticket).is_some());
        assert!(of("0123456789abcdeF", 200).decrypt(&ticket).is_none(), "another secret");
        let ahead = of("0123456789abcdef", 3601).encrypt(b"session").unwrap();
        assert!(of("0123456789abcdef", 3599).decrypt(&ahead).is_some(), "a clock that is ahead");
        let alone = Rotation::default().keys(&settings(None), [0; 32], at(0)).unwrap();
        assert!(alone.decrypt(&ticket).is_none());
    }
}
