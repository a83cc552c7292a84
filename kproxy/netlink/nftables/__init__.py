"""nf_tables over netlink: codecs of tables, chains, rules, sets, elements, transactions and notifications.

Pure: bytes in, values out, and back. Layouts: the kernel's include/uapi/linux/netfilter/nf_tables.h; numbers are big
endian. What the kernel keeps for nft and does not look into (comments, `typeof`) is in `userdata`.
"""
