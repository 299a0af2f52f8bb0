"""Role `outbound`: send commands → permit → provider → statuses (DESIGN §9)."""
