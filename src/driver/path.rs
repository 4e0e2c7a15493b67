//! Paths as hosts and dialects give them, and the URL below which they stay.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::{Error, topic::is_dots};

/// `path`, which may have a query, below a server's URL.
///
/// A `.` or `..` between its slashes is refused, however it is spelled: it would lead out of the base, or out of the
/// collection whose name it is.
pub(crate) fn below(base: &Url, path: &str) -> Result<Url, Error> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    // As the URL standard reads it, which drops these characters, and as servers do that decode first.
    let decoded = percent_decode_str(path).decode_utf8_lossy().replace(['\t', '\n', '\r'], "");
    if decoded.split(['/', '\\']).any(is_dots) {
        let reason = "it has a `.` or `..` between its slashes; give the path below the server's URL";
        return Err(Error::argument("path", reason));
    }
    let mut url = base.clone();
    url.set_path(&format!("{}/{}", base.path().trim_end_matches('/'), path.trim_start_matches(['/', '\\'])));
    url.set_query(query);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_the_servers_url() {
        let base = "https://host/pb/".parse().unwrap();
        for (path, url) in [
            ("/api/x?a=../b", "https://host/pb/api/x?a=../b"),
            ("api/..x/.y/z..", "https://host/pb/api/..x/.y/z.."),
            ("", "https://host/pb/"),
            ("//evil/x", "https://host/pb/evil/x"),
            ("\\\\evil\\x", "https://host/pb/evil/x"),
            ("@evil/x#y", "https://host/pb/@evil/x%23y"),
        ] {
            assert_eq!(below(&base, path).unwrap().as_str(), url, "{path}");
        }
        for path in [
            "../../etc",
            "a/../../etc",
            "a/..",
            "./a",
            "%2e%2e/etc",
            "a/.%2E/etc",
            "a\\..\\..\\etc",
            "..%2fetc",
            "..%5cetc",
            ".\t./etc",
            "%2e%0a%2e/etc",
        ] {
            let error = below(&base, path).unwrap_err().to_string();
            assert!(error.contains("invalid path"), "{path}: {error}");
        }
    }
}
