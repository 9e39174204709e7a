//! What a header section must not be.

/// Which rule a header section breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A request line or header line that cannot be parsed (RFC 9112 sections 3 and 5).
    Head,
    /// A method that is no word of capital letters, as all that are registered are.
    Method,
    /// More than one `Authorization`.
    SeveralAuthorization,
    /// HTTP/1.1 without `Host` (RFC 9112 section 3.2).
    NoHost,
    /// A `Host` that names no host (RFC 9112 section 3.2).
    Host,
    /// A `Content-Length` other than one number (RFC 9112 section 6.3).
    ContentLength,
    /// `Content-Length` beside `Transfer-Encoding` (RFC 9112 section 6.1).
    TwoFramings,
    /// A `Transfer-Encoding` other than exactly `chunked`.
    TransferEncoding,
    /// A line that ends in a bare LF (RFC 9112 section 2.2).
    BareLf,
    /// A `Connection` header that cannot be obeyed safely.
    Connection,
    /// A body whose framing breaks off or makes no sense.
    Body,
}

impl Malformed {
    /// Returns what the client is told.
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Head => "the request line or a header line is malformed",
            Self::Method => "the method must be written in capital letters",
            Self::SeveralAuthorization => "there must be one Authorization header at most",
            Self::NoHost => "a Host header is required",
            Self::Host => "the Host header must name one host",
            Self::ContentLength => "the Content-Length header must be one number",
            Self::TwoFramings => "Content-Length and Transfer-Encoding exclude each other",
            Self::TransferEncoding => "the only transfer encoding accepted is chunked",
            Self::BareLf => "header lines must end in CRLF",
            Self::Connection => "the Connection header is malformed",
            Self::Body => "the body is malformed",
        }
    }
}
