"""Media types of files by extension, with their charset, and which of them are worth compressing. Pure.

The table holds types that are registered with IANA or that browsers agree on. Text is declared to be UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

DEFAULT_TYPE = "application/octet-stream"

_EXTENSIONS = """
text/html                 html htm shtml
text/css                  css
text/javascript           js mjs cjs
text/plain                txt text log conf cfg ini def list in diff patch asc toml lock properties env readme
                          license c h cc cpp cxx hpp hh java py rb rs go sh bash zsh pl pm lua sql swift kt kts scala
                          cs tex r jl hs erl ex exs clj bat ps1 tsx jsx vue svelte sass scss less rst adoc srt nfo
text/markdown             md markdown mkd
text/csv                  csv
text/tab-separated-values tsv
text/calendar             ics ifb
text/vcard                vcf vcard
text/vtt                  vtt
text/cache-manifest       appcache
text/x-component          htc
text/troff                t tr roff man ms
text/turtle               ttl
text/n3                   n3
application/json          json map jsonc json5
application/ld+json       jsonld
application/geo+json      geojson
application/manifest+json webmanifest
application/schema+json   schema
application/x-ndjson      ndjson jsonl
application/feed+json     jsonfeed
application/yaml          yaml yml
application/xml           xml xsl xsd rng dtd
application/xslt+xml      xslt
application/xhtml+xml     xhtml xht
application/rss+xml       rss
application/atom+xml      atom
application/rdf+xml       rdf
application/mathml+xml    mathml mml
application/gpx+xml       gpx
application/vnd.google-earth.kml+xml kml
application/vnd.google-earth.kmz kmz
application/opensearchdescription+xml osdx
application/dash+xml      mpd
application/smil+xml      smil smi
application/ttml+xml      ttml
application/wsdl+xml      wsdl
application/x-web-app-manifest+json webapp
application/graphql       graphql gql
application/wasm          wasm
application/pdf           pdf
application/rtf           rtf
application/postscript    ps eps ai
application/epub+zip      epub
application/x-mobipocket-ebook mobi prc
application/msword        doc dot
application/vnd.ms-excel  xls xlt
application/vnd.ms-powerpoint ppt pps
application/vnd.openxmlformats-officedocument.wordprocessingml.document docx
application/vnd.openxmlformats-officedocument.wordprocessingml.template dotx
application/vnd.openxmlformats-officedocument.spreadsheetml.sheet xlsx
application/vnd.openxmlformats-officedocument.spreadsheetml.template xltx
application/vnd.openxmlformats-officedocument.presentationml.presentation pptx
application/vnd.openxmlformats-officedocument.presentationml.slideshow ppsx
application/vnd.oasis.opendocument.text odt
application/vnd.oasis.opendocument.spreadsheet ods
application/vnd.oasis.opendocument.presentation odp
application/vnd.oasis.opendocument.graphics odg
application/vnd.visio     vsd vsdx
application/zip           zip
application/gzip          gz tgz svgz
application/x-bzip2       bz2 tbz
application/x-xz          xz txz
application/zstd          zst tzst
application/x-brotli      br
application/x-lzip        lz
application/x-tar         tar
application/vnd.rar       rar
application/x-7z-compressed 7z
application/x-cpio        cpio
application/java-archive  jar war ear
application/java-vm       class
application/vnd.android.package-archive apk aab
application/vnd.debian.binary-package deb udeb
application/x-rpm         rpm
application/x-apple-diskimage dmg
application/x-iso9660-image iso
application/x-msdownload  exe dll
application/x-msi         msi
application/vnd.appimage  appimage
application/x-sqlite3     sqlite sqlite3 db
application/x-chrome-extension crx
application/x-xpinstall   xpi
application/x-bittorrent  torrent
application/x-shockwave-flash swf
application/octet-stream  bin img dat iso9660 dump so o a pyc deploy pak bundle
application/vnd.apple.mpegurl m3u8
application/pkcs8         p8
application/pkcs10        p10 csr
application/x-pkcs12      p12 pfx
application/pkix-cert     cer der
application/pkix-crl      crl
application/x-x509-ca-cert crt
application/x-pem-file    pem
application/pgp-signature sig
application/pgp-keys      pgp gpg
application/dns-message   dns
application/protobuf      proto
application/vnd.apache.parquet parquet
application/vnd.apache.arrow.file arrow feather
application/x-hdf5        h5 hdf5
application/vnd.mapbox-vector-tile mvt
application/x-ipynb+json  ipynb
application/x-tcl         tcl tk
application/x-perl        plx
application/x-httpd-php   phps
application/vnd.ms-fontobject eot
application/vnd.ms-cab-compressed cab
application/ecmascript    es
application/cbor          cbor
application/msgpack       msgpack
application/sparql-query  rq
application/manifest      manifest
application/appinstaller  appinstaller
application/vnd.apple.pkpass pkpass
application/x-apple-aspen-config mobileconfig
image/jpeg                jpg jpeg jpe jfif pjpeg
image/png                 png
image/apng                apng
image/gif                 gif
image/webp                webp
image/avif                avif
image/jxl                 jxl
image/jp2                 jp2 j2k
image/heic                heic
image/heif                heif
image/svg+xml             svg
image/vnd.microsoft.icon  ico cur
image/bmp                 bmp dib
image/tiff                tif tiff
image/vnd.adobe.photoshop psd
image/vnd.djvu            djvu djv
image/x-xcf               xcf
image/vnd.wap.wbmp        wbmp
image/x-portable-pixmap   ppm
image/x-portable-graymap  pgm
image/x-portable-bitmap   pbm
image/ktx2                ktx2
audio/mpeg                mp3 mp2 mpga
audio/mp4                 m4a m4b
audio/aac                 aac
audio/ogg                 oga ogg opus spx
audio/flac                flac
audio/wav                 wav
audio/webm                weba
audio/midi                mid midi kar
audio/aiff                aif aiff aifc
audio/basic               au snd
audio/x-matroska          mka
audio/x-ms-wma            wma
audio/x-mpegurl           m3u
audio/3gpp                3ga
audio/amr                 amr
video/mp4                 mp4 m4v mp4v
video/webm                webm
video/ogg                 ogv
video/quicktime           mov qt
video/mpeg                mpeg mpg mpe m1v m2v
video/mp2t                ts m2ts mts
video/iso.segment         m4s
video/x-msvideo           avi
video/x-matroska          mkv
video/x-ms-wmv            wmv
video/x-ms-asf            asf asx
video/x-flv               flv
video/3gpp                3gp 3gpp
video/3gpp2               3g2
font/woff2                woff2
font/woff                 woff
font/ttf                  ttf
font/otf                  otf
font/collection           ttc
model/gltf+json           gltf
model/gltf-binary         glb
model/stl                 stl
model/obj                 obj
model/mtl                 mtl
model/vnd.usdz+zip        usdz
message/rfc822            eml mht mhtml
"""

#: Types that are worth compressing, in addition to `text/*`, `*+json` and `*+xml`.
_COMPRESSIBLE = """
    application/json application/x-ndjson application/yaml application/xml application/wasm application/rtf
    application/postscript application/graphql application/ecmascript application/javascript application/x-javascript
    application/vnd.ms-fontobject application/vnd.apple.mpegurl application/x-mpegurl audio/x-mpegurl application/x-tar
    application/manifest application/x-pem-file application/x-tcl application/x-perl application/x-httpd-php
    application/sparql-query application/x-sqlite3 application/dns-message application/protobuf
    application/vnd.mapbox-vector-tile image/vnd.microsoft.icon image/x-icon image/bmp image/x-portable-pixmap
    image/x-portable-graymap image/x-portable-bitmap image/vnd.adobe.photoshop font/ttf font/otf font/collection
    model/gltf-binary model/stl model/obj model/mtl message/rfc822 application/x-hdf5
"""
#: Types that get a charset although they do not begin with `text/`.
_TEXT = """
    application/json application/xml application/ecmascript application/javascript application/yaml
    application/x-ndjson application/manifest+json application/graphql image/svg+xml
"""
_CHARSET = "; charset=utf-8"
#: Formats that are another one in a content coding, by extension: the coding, and the type of the decoded content.
_CODED = {"svgz": ("gzip", "image/svg+xml; charset=utf-8")}
_CODED_TYPES = {"application/gzip", "image/svg+xml"}  # that leave such a format what it is; others are overrides
#: File names without extension that are known to be text.
_NAMES = dict.fromkeys(
    ["readme", "license", "licence", "copying", "changelog", "authors", "makefile", "dockerfile", "notice", "install"],
    "text/plain",
)


def _read_table() -> dict[str, str]:
    table: dict[str, str] = {}
    media_type = ""
    for line in _EXTENSIONS.splitlines():
        words = line.split()
        if words and not line.startswith(" "):
            media_type = words.pop(0)
        table.update(dict.fromkeys(words, media_type))
    return table


class MediaTypes:
    """The media types of one rule: the built-in table with the config's overrides.

    Args:
        overrides: media types by extension, in any case, with or without dot. Later mappings take precedence.
        compressed: media types to compress in addition to the built-in ones; `font/*` means all that begin so.
    """

    __slots__ = ("_coded", "_compressed", "_prefixes", "_table", "_text")

    def __init__(self, overrides: Iterable[Mapping[str, str]] = (), compressed: Iterable[str] = ()) -> None:
        self._table = _read_table()
        for mapping in overrides:
            self._table.update({extension.lower().removeprefix("."): value for extension, value in mapping.items()})
        self._coded = {
            extension: coded
            for extension, coded in _CODED.items()
            if self._table[extension].partition(";")[0].rstrip() in _CODED_TYPES
        }
        self._table.update(dict.fromkeys(self._coded, "application/gzip"))
        compressed = [media_type.lower() for media_type in compressed]
        self._compressed = frozenset(_COMPRESSIBLE.split()).union(compressed)
        self._text = frozenset(_TEXT.split())
        self._prefixes = ("text/", *[media_type[:-1] for media_type in compressed if media_type.endswith("*")])

    def of(self, name: str) -> str:
        """Return the value of Content-Type for the file `name`, which may be a path."""
        stem, dot, extension = name.rpartition("/")[2].rpartition(".")
        media_type = self._table.get(extension.lower(), DEFAULT_TYPE) if dot and stem else None
        if media_type is None:
            media_type = _NAMES.get(name.rpartition("/")[2].lower(), DEFAULT_TYPE)
        if ";" not in media_type and (media_type.startswith("text/") or media_type in self._text):
            return media_type + _CHARSET
        return media_type

    def coded(self, name: str) -> tuple[str, str] | None:
        """Return coding and decoded media type of a file that is in a content coding by its format, else None."""
        return self._coded.get(name.rpartition("/")[2].rpartition(".")[2].lower())

    def is_compressible(self, content_type: str) -> bool:
        """Return whether content of this type is worth compressing."""
        media_type = content_type.partition(";")[0].rstrip().lower()
        return (
            media_type.startswith(self._prefixes)
            or media_type in self._compressed
            or media_type.endswith(("+json", "+xml"))
        )
