//! The words for why a filter answered a request itself.

/// Why a filter answered instead of the upstream, as logs, metrics and answers say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// `address_denied`: `client_addresses` does not let the address in. 403.
    AddressDenied,
    /// `user_agent_denied`: 403.
    UserAgentDenied,
    /// `client_certificate_denied`: 403.
    ClientCertificateDenied,
    /// `referer_denied`: 403.
    RefererDenied,
    /// `rate_limited`: too many requests for their key. 429.
    RateLimited,
    /// `concurrency_limited`: too many requests in flight for their key. 503.
    ConcurrencyLimited,
    /// `credentials_missing`: no user name and password, or none that can be read. 401.
    CredentialsMissing,
    /// `credentials_wrong`: a user name or a password that does not fit. 401.
    CredentialsWrong,
    /// `api_key_missing`: no key, or more than one. 401.
    ApiKeyMissing,
    /// `api_key_wrong`: a key that nobody has. 401.
    ApiKeyWrong,
    /// `rewrite_invalid`: a path, query or host made from the request that could not be sent. 400.
    RewriteInvalid,
    /// `maintenance`: the route is closed for a while. 503.
    Maintenance,
    /// `redirected`: not a refusal.
    Redirected,
    /// `responded`: not a refusal.
    Responded,
    /// `cors_preflight`: not a refusal.
    CorsPreflight,
}

impl Reason {
    /// Every reason, in the order of [`Reason::index`].
    pub const ALL: [Self; 15] = [
        Self::AddressDenied,
        Self::UserAgentDenied,
        Self::ClientCertificateDenied,
        Self::RefererDenied,
        Self::RateLimited,
        Self::ConcurrencyLimited,
        Self::CredentialsMissing,
        Self::CredentialsWrong,
        Self::ApiKeyMissing,
        Self::ApiKeyWrong,
        Self::RewriteInvalid,
        Self::Maintenance,
        Self::Redirected,
        Self::Responded,
        Self::CorsPreflight,
    ];

    /// Its place in [`Reason::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// As it stands in logs, metrics and answers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AddressDenied => "address_denied",
            Self::UserAgentDenied => "user_agent_denied",
            Self::ClientCertificateDenied => "client_certificate_denied",
            Self::RefererDenied => "referer_denied",
            Self::RateLimited => "rate_limited",
            Self::ConcurrencyLimited => "concurrency_limited",
            Self::CredentialsMissing => "credentials_missing",
            Self::CredentialsWrong => "credentials_wrong",
            Self::ApiKeyMissing => "api_key_missing",
            Self::ApiKeyWrong => "api_key_wrong",
            Self::RewriteInvalid => "rewrite_invalid",
            Self::Maintenance => "maintenance",
            Self::Redirected => "redirected",
            Self::Responded => "responded",
            Self::CorsPreflight => "cors_preflight",
        }
    }

    /// Whether the client was refused what it asked for.
    #[must_use]
    pub const fn is_refusal(self) -> bool {
        !matches!(self, Self::Redirected | Self::Responded | Self::CorsPreflight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_place_and_a_word_of_its_own() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert_eq!(Reason::ALL.iter().filter(|other| other.name() == reason.name()).count(), 1);
        }
    }
}
