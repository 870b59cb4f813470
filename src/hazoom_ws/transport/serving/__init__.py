"""Who accepts connections, reads and writes them: the loop, WSGI beside it, threads where there is none."""
