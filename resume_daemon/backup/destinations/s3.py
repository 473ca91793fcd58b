"""An S3 bucket: large files go in parts, and an interruption costs at most the part under way."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from resume_daemon.backup.destinations.url import UrlDestination
from resume_daemon.backup.sent import How, Sent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resume_daemon.backup.pieces import SourceFile

PART = 16 * 1024 * 1024
"""Bytes of a part, and of the only buffer. S3 takes parts from 5 MiB on."""

MOST_PARTS = 10_000
"""Of one object (Amazon S3 User Guide, multipart upload limits)."""

_MIB = 1024 * 1024


def part_bytes(size: int) -> int:
    """Return the bytes of each part of a file: the same after an interruption."""
    least = -(-size // MOST_PARTS)
    return max(PART, -(-least // _MIB) * _MIB)


class S3Destination(UrlDestination):
    """A prefix of a bucket.

    An upload that was cut off is found by its key and gone on with: a part that is there is not
    sent again where its ETag is the MD5 of the same bytes, as it is unless the bucket encrypts with
    keys of its own; then it is sent again.
    """

    def send(self, source: SourceFile, name: str) -> Sent:
        """Send a file, in parts where it is large."""
        bucket, key, _ = self.filesystem.split_path(self.path(name))
        size = source.file.size
        where = {"Bucket": bucket, "Key": key}
        with self.told("write", name):
            if size <= PART:
                content = b"".join(source.pieces())
                self._call("put_object", **where, Body=content)
                return Sent(How.COPY, size)
            piece = part_bytes(size)
            upload, there = self._begun(bucket, key, piece)
            if upload is None:
                upload = self._call("create_multipart_upload", **where)["UploadId"]
            parts, sent = [], 0
            for number, content in enumerate(source.pieces(piece), 1):
                tag = '"' + hashlib.md5(content, usedforsecurity=False).hexdigest() + '"'
                if there.get(number) != tag:
                    answer = self._call(
                        "upload_part", **where, UploadId=upload, PartNumber=number, Body=content
                    )
                    tag = answer["ETag"]
                    sent += len(content)
                parts.append({"PartNumber": number, "ETag": tag})
            self._call(
                "complete_multipart_upload",
                **where,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
            )
        return Sent(How.COPY, sent)

    def make_folder(self, path: str) -> None:
        """Do nothing: a bucket has no directories, and one that is missing is not made here."""

    def remove_folder(self, name: str) -> None:
        """Remove all objects below a prefix, and abort the uploads to it."""
        super().remove_folder(name)
        bucket, prefix, _ = self.filesystem.split_path(self.path(name) + "/")
        with self.told("remove", name):
            for upload in self._uploads(bucket, prefix):
                self._abort(bucket, upload)

    def _begun(self, bucket: str, key: str, piece: int) -> tuple[str | None, dict[int, str]]:
        """Return the upload to go on with, with its parts' ETags; others to that key are aborted.

        Storage is paid for parts that belong to no object, and nothing lists them.
        """
        uploads = [each for each in self._uploads(bucket, key) if each["Key"] == key]
        uploads.sort(key=lambda each: each["Initiated"])
        for upload in uploads[:-1]:
            self._abort(bucket, upload)
        if not uploads:
            return None, {}
        identity = uploads[-1]["UploadId"]
        where = {"Bucket": bucket, "Key": key, "UploadId": identity}
        parts = {
            part["PartNumber"]: part["ETag"]
            for part in self._pages("list_parts", "Parts", ("PartNumberMarker",), where)
            if part["Size"] <= piece
        }
        return identity, parts

    def _uploads(self, bucket: str, prefix: str) -> list[dict[str, Any]]:
        where = {"Bucket": bucket, "Prefix": prefix}
        markers = ("KeyMarker", "UploadIdMarker")
        return list(self._pages("list_multipart_uploads", "Uploads", markers, where))

    def _pages(
        self, method: str, key: str, markers: tuple[str, ...], where: dict[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """Yield what a call lists, page by page."""
        while True:
            answer = self._call(method, **where)
            yield from answer.get(key, ())
            if not answer.get("IsTruncated"):
                return
            where = {**where, **{marker: answer[f"Next{marker}"] for marker in markers}}

    def _abort(self, bucket: str, upload: dict[str, Any]) -> None:
        self._call(
            "abort_multipart_upload",
            Bucket=bucket,
            Key=upload["Key"],
            UploadId=upload["UploadId"],
        )

    def _call(self, method: str, **arguments: Any) -> Any:
        return self.filesystem.call_s3(method, **arguments)
