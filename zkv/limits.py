"""Every bound of the system, unit last in the name; relations between them are asserted on import."""

# What a user may send. Checked at the client and again at the node.
KEY_BYTES_MAX = 4 * 1024
VALUE_BYTES_MAX = 1024 * 1024
BATCH_OPERATIONS_MAX = 1_000
BATCH_BYTES_MAX = 4 * 1024 * 1024
SCAN_PAGE_ROWS_MAX = 1_000
SCAN_PAGE_BYTES_MAX = 1024 * 1024
TABLE_NAME_CHARACTERS_MAX = 64
SHARDS_PER_TABLE_MAX = 4_096
REPLICAS_MAX = 7
DEADLINE_MS_MAX = 600_000

# Frames. libzmq refuses larger ones and closes the connection (MAXMSGSIZE, per frame).
FRAME_BYTES_MAX = 8 * 1024 * 1024
FRAME_GROUPS_MAX = 4_096

# Sessions: what each shard remembers of each client so that a retry is applied once (rules 12, 13).
WINDOW_SEQUENCES = 4_096
BIRTH_AHEAD_MS_MAX = 100 * 365 * 86_400_000  # of a client id, before the leader's time of day: floors rise no further
SESSIONS_PER_SHARD_MAX = 4_096
SESSION_BYTES_PER_SHARD_MAX = 8 * 1024 * 1024

# Replication.
APPEND_BYTES_MAX = 1024 * 1024  # entries in one append to one peer; at least one entry is always sent
INFLIGHT_BYTES_PER_PEER_MAX = 4 * 1024 * 1024  # of one replica, sent and not acknowledged
UNCOMMITTED_BYTES_PER_SHARD_MAX = 16 * 1024 * 1024  # above it: Overloaded
ENTRY_BYTES_MAX = 5 * 1024 * 1024
TAIL_BYTES_PER_NODE_MAX = 32 * 1024 * 1024  # applied entries kept for followers; beyond: a snapshot
SNAPSHOT_CHUNK_BYTES = 64 * 1024
SNAPSHOT_CREDIT_CHUNKS = 8
SNAPSHOT_TURN_BYTES = 64 * 1024  # of a node's snapshots, cut in one turn
SNAPSHOT_PIECES = 16  # of a chunk that the member may have already: each is compared for itself
DRAFT_CREDIT_CHUNKS = 3  # that are being compared at a time
DRAFT_KEPT_MS = 600_000  # what a broken stream has left, and no other goes on with
SNAPSHOT_RATE_BYTES_MIN = 1024 * 1024  # a second; slower, and a stream would pass for dead between two chunks
SPLIT_KEPT_BYTES_MAX = 8 * 1024 * 1024  # of a log that a checkpoint keeps for voters that lack a split
LEARNING_TAIL_BYTES_MAX = 96 * 1024 * 1024  # of a node's tails, while a learner is brought a snapshot and catches up

# Answers and memory of a node.
WAITING_BYTES_PER_NODE_MAX = 64 * 1024 * 1024  # requests taken and not answered; above it: Overloaded
ANSWER_BYTES_PER_TURN_MAX = 1024 * 1024  # rows for one client; one answer alone may be larger
DRAIN_BYTES_MAX = 256 * 1024  # taken from one socket in one turn: chunks of snapshots are to hold nobody up
PEER_QUEUE_MESSAGES = 10_000
CLIENT_QUEUE_MESSAGES = 512  # answers that wait for one client to read; what does not fit is dropped, and asked again
UNREAD_BYTES_PER_CLIENT_MAX = 8 * 1024 * 1024  # likewise
UNREAD_BYTES_MAX = 256 * 1024 * 1024  # of all clients; beyond it, each is left only the next
UNREAD_SPARE_BYTES = 1024 * 1024  # or one answer that is larger
UNREAD_BYTES_PER_LINK_MAX = 64 * 1024 * 1024  # to one peer; what does not fit is dropped, and sent again by its owner
UNREAD_GRANULE_BYTES = 256 * 1024  # how exactly unread bytes are known

# Time, in milliseconds.
HEARTBEAT_MS = 100
TELL_MS = 50  # a commit that no append tells within this time is told by itself
ELECTION_MS_MIN = 600  # a follower waits between this and twice this
LEASE_MS = 500
LEASE_DRIFT_MS = 50  # two clocks may differ by this much over one lease (10 %)
SLEEP_AFTER_MS = 3_000  # a shard that nobody asks for so long sleeps: its heartbeats end
REGISTER_MS = 250  # a node's heartbeat to the coordinator
NODE_DOWN_MS = 1_500  # silent for longer: down
GRACE_MS_MAX = 7 * 24 * 3_600_000  # of a silent node, before its replicas are rebuilt elsewhere

# Moving replicas.
MOVES_PER_NODE_MAX = 64
HEALS_PER_NODE_MAX = 8  # lost replicas that are rebuilt on one node at a time, however many moves there may be

# Splitting shards of range tables.
SPLIT_BYTES = 64 * 1024 * 1024  # larger ones are split by themselves, unless it is tuned
SPLIT_BYTES_MIN = 64 * 1024
SPLIT_REQUESTS = 1_000  # a second: shards of range tables that are asked more may be split, unless it is tuned

# Merging them.
MERGE_BYTES = 16 * 1024 * 1024  # a shard of more is not merged into another, unless it is tuned
HOT_MS = 20_000  # a shard that is asked too often for so long is split, unless it is tuned
COLD_MS = 3_600_000  # neighbours that have been small and cold for so long are merged, unless it is tuned

# Disk.
LOG_SEGMENT_BYTES = 32 * 1024 * 1024
LOG_CHECKPOINT_BYTES = 64 * 1024 * 1024  # log behind the last checkpoint that asks for the next
DISK_RESERVE_BYTES = 64 * 1024 * 1024  # free space below which client writes are refused (rule 6)

assert LEASE_MS + LEASE_DRIFT_MS < ELECTION_MS_MIN, "a lease must end before anybody can be elected (rule 8)"
assert HEARTBEAT_MS * 3 < LEASE_MS, "one lost heartbeat must not cost the lease"
assert BATCH_BYTES_MAX + VALUE_BYTES_MAX <= ENTRY_BYTES_MAX < FRAME_BYTES_MAX
assert KEY_BYTES_MAX + VALUE_BYTES_MAX < BATCH_BYTES_MAX
assert FRAME_BYTES_MAX <= UNREAD_BYTES_PER_CLIENT_MAX, "the largest answer must fit"
assert 0 < DRAFT_CREDIT_CHUNKS <= SNAPSHOT_CREDIT_CHUNKS
assert REGISTER_MS * 4 < NODE_DOWN_MS
assert BATCH_OPERATIONS_MAX <= WINDOW_SEQUENCES
