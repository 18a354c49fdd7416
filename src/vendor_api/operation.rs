//! Operations of the API: the one table of methods and paths. The service builds its router from it.

/// HTTP method of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Delete,
    Get,
    Post,
}

impl Method {
    /// Returns its name (RFC 9110 section 9.3).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

macro_rules! operations {
    ($($name:ident: $method:ident $path:literal,)+) => {
        /// An operation of the API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Operation {
            $($name,)+
        }

        impl Operation {
            /// Every operation, sorted by path.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns its method.
            #[must_use]
            pub const fn method(self) -> Method {
                match self {
                    $(Self::$name => Method::$method,)+
                }
            }

            /// Returns its path, with parameters in braces.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self {
                    $(Self::$name => $path,)+
                }
            }
        }
    };
}

operations! {
    Directory: Get "/.well-known/digital-stamp",
    Health: Get "/healthz",
    Account: Get "/v1/account",
    SendCode: Post "/v1/addresses",
    ConfirmCode: Post "/v1/addresses/confirm",
    Checkpoint: Post "/v1/checkpoints",
    Clear: Post "/v1/clearings",
    Deposit: Post "/v1/deposits",
    History: Get "/v1/history",
    ListApiKeys: Get "/v1/keys",
    CreateApiKey: Post "/v1/keys",
    RevokeApiKey: Delete "/v1/keys/{id}",
    Licenses: Get "/v1/licenses",
    License: Post "/v1/licenses",
    EndLicense: Delete "/v1/licenses/{kid}",
    OpenApi: Get "/v1/openapi.json",
    Prices: Get "/v1/prices",
    Revoke: Post "/v1/revocations",
    Buy: Post "/v1/stamps",
    TakeVoucher: Post "/v1/vouchers",
}
