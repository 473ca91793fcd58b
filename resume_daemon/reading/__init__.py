"""One read of each byte of a file serves its digest, the CRCs of its records and its tensors.

``scan`` is the entrance. What stands behind it: ``ranges`` (one worker, one range), ``values``
(the numbers in a chunk), ``crc``, ``page_cache``, ``throttle`` and ``giving_way``; ``results``
holds the values that come out and imports nothing heavy.
"""
