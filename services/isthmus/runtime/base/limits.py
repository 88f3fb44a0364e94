"""Every limit a caller can meet, in one place. The protos' comments state the same numbers; a test compares them."""

from __future__ import annotations

from typing import Final

IMAGE_MAX_BYTES: Final = 10 * 1024 * 1024
"""Bytes of an image file."""
IMAGE_MAX_PX: Final = 16_777_216
"""Pixels of an image (4096 x 4096)."""
IMAGE_MAX_SIDE_PX: Final = 8_192
"""Pixels of an image's longer side."""
TEXT_MAX_BYTES: Final = 32 * 1024
"""UTF-8 bytes of a text."""
EMBED_MAX_COUNT: Final = 256
"""Inputs of one Embed or Encode call, and queries of one Search call."""
MATCH_MAX_COUNT: Final = 256
"""Pairs of one MatchPairs call."""
AUDIT_MAX_COUNT: Final = 2_000_000
"""Pairs that one AuditPairs call lists."""
AUDIT_DEFAULT_COUNT: Final = 100
"""Pairs that an AuditPairs call lists which does not say how many."""
UPSERT_MAX_COUNT: Final = 1_000
"""Items of one upsert, delete, get or look-up request."""
ERASED_DIGESTS_MAX_COUNT: Final = 100_000
"""Contents of erased items, older versions too, whose cached embeddings are dropped; others expire."""
IMPORT_FILES_MAX_COUNT: Final = 16
"""Files of one import."""
IMPORT_FILE_MAX_ROWS: Final = 4_096
"""Rows of one file that is imported: they are one mutation."""
IMPORT_FILE_MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes of one file that is imported."""
TOP_K_MAX_COUNT: Final = 1_000
"""Neighbours of one query."""
TOP_K_DEFAULT_COUNT: Final = 10
"""Neighbours of a query that does not say how many."""
BATCH_QUERIES_MAX_COUNT: Final = 256
"""Queries of one BatchSearchItems call."""
BATCH_NEIGHBORS_MAX_COUNT: Final = 25_600
"""Queries of one BatchSearchItems call x neighbours wanted of each."""
KEYWORDS_MAX_BYTES: Final = 1_024
"""UTF-8 bytes of the words of one search."""
KEYWORDS_MAX_COUNT: Final = 64
"""Different terms in them."""
EXAMPLES_MAX_COUNT: Final = 64
"""Examples of one query, and items that are left out of its answer."""
EXAMPLE_WEIGHT_MAX: Final = 100.0
"""Weight of an example, without its sign."""
DEPTH_FACTOR: Final = 4
"""So many times as many candidates as answers are looked at for near-duplicates and diversity."""
DEPTH_MIN_COUNT: Final = 100
"""And at least so many."""
DEPTH_MAX_COUNT: Final = 1_000
"""And at most so many."""
PAGE_DEPTH_MAX_COUNT: Final = 10_000
"""Answers to one query that its pages reach."""
PART_DEPTH_MAX_COUNT: Final = 262_144
"""Candidates of a modality that one part of a split collection tells of at a time."""
MEASURE_SAMPLE_MAX_COUNT: Final = 5_000
"""Pairs that the costlier measures of the gap look at."""
FOLLOWED_MAX_COUNT: Final = 10_000
"""Collections of all tenants in one internal list."""
WATCHES_MAX_COUNT: Final = 1_000
"""Watched collections in one internal list, and in a gateway's metrics."""
PROPOSALS_MAX_COUNT: Final = 1_000
"""Proposals in one list."""
DISMISSAL_REASON_MAX_BYTES: Final = 1_024
"""UTF-8 bytes of the reason for dismissing a proposal."""
LINKS_MESSAGE_MAX_COUNT: Final = 1_000
"""Proposed links of one message of a stream."""
DIMENSION_MAX_COUNT: Final = 8_192
"""Components of a vector."""
ID_MAX_BYTES: Final = 256
"""UTF-8 bytes of an item id or a pair key."""
REQUEST_ID_MAX_COUNT: Final = 64
"""Characters of a request id."""
ATTRIBUTES_MAX_COUNT: Final = 64
"""Attributes of an item."""
ATTRIBUTES_MAX_BYTES: Final = 16 * 1024
"""Bytes of an item's attributes together."""
ATTRIBUTE_VALUE_MAX_BYTES: Final = 4 * 1024
"""UTF-8 bytes of one text attribute."""
FILTER_DEPTH_MAX_COUNT: Final = 16
"""Filters inside one another, the innermost condition included."""
FILTER_MAX_COUNT: Final = 256
"""Conditions and combinations of one filter together."""
FILTER_VALUES_MAX_COUNT: Final = 1_000
"""Values that one condition compares with."""
FILTER_MAX_BYTES: Final = 64 * 1024
"""Bytes of a filter."""
RESERVED_ATTRIBUTE_PREFIX: Final = "isthmus."
"""What names of attributes may not begin with: the index keeps what it knows of an item itself under such names."""
CONTENT_WORDS_MAX_COUNT: Final = TEXT_MAX_BYTES // 2
"""Words of a text: each takes a byte, and one to be apart from the next."""
SLICE_QUERIES_MAX_COUNT: Final = 10_000
"""Ids on a list of queries that are judged by themselves."""
GAIN_ROWS_MAX_COUNT: Final = 20_000
"""Rows of a table of gains."""
LABELS_MAX_COUNT: Final = 256
"""Different values of an attribute that labels images."""
ATTRIBUTE_NAME_MAX_BYTES: Final = 256
"""UTF-8 bytes of an attribute's name where a call asks for it."""
THUMBNAIL_MAX_BYTES: Final = 64 * 1024
"""Bytes of a thumbnail."""
MANIFEST_MAX_BYTES: Final = 1024 * 1024
"""Bytes of an aligner's manifest."""
ALIGNER_MAX_BYTES: Final = 12 * 1024 * 1024
"""Bytes of an aligner's tensors."""
GATEWAY_RECEIVE_MAX_BYTES: Final = 32 * 1024 * 1024
"""Bytes of one message the gateway accepts."""
INTERNAL_RECEIVE_MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one message the services behind the gateway accept."""
METADATA_MAX_BYTES: Final = 8 * 1024
"""Bytes of a call's metadata."""
DEADLINE_DEFAULT_S: Final = 10.0
"""Deadline of a unary call that came without one."""
DEADLINE_HOP_S: Final = 0.005
"""What a hop keeps for itself of the deadline it passes on."""
DEADLINE_FLOOR_S: Final = 0.002
"""A call with less time left than this is refused at once."""
